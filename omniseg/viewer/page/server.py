"""The page: one web server, its visitors, and the one loop in which all of them are served."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import rich
import viser

from omniseg.errors import BadArgument
from omniseg.viewer import actions
from omniseg.viewer.controller import Controller, Message
from omniseg.viewer.page.gate import Gate
from omniseg.viewer.page.panel import Panel
from omniseg.viewer.page.scene import draw_cameras, segment_cloud, surface_cloud
from omniseg.viewer.page.visitor import Visitor

MAX_VISITORS = 16
"""Limit of browsers at one time: each takes some ten megabytes for its picture."""
MAX_LEFT = 8
"""Number of visitors who are gone and whose work is kept, the latest ones."""
_NAME_KEY, _NAME_SECONDS = "omniseg-visitor", 2.0
"""Place of a visitor's name in the browser, and the time that it has to answer."""
_POINT_SIZE = 0.006
"""Size of a point of the cloud, scene units."""
_IDLE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Page:
    """A web page on which every visitor has a camera, and a session of their own or one for all.

    Args:
        controller: of the run; visitors get controllers beside it.
        gate: decides who may connect, and names the address to bind to.
        port: to listen on.
        shared: whether all visitors work on the same selections.
    Raises:
        InputError: the port is taken, or not one of ours.
    """

    def __init__(self, controller: Controller, gate: Gate, port: int, *, shared: bool = False) -> None:
        self._first, self._shared = controller, shared
        self._visitors: dict[int, tuple[Visitor, Panel]] = {}
        self._new: list[tuple[viser.ClientHandle, str]] = []
        self._left: dict[str, Controller] = {}
        self._names: dict[int, str] = {}
        self._lock, self._work = threading.Lock(), threading.Event()
        self._is_open = True
        self._cloud: tuple[np.ndarray, np.ndarray] | None = None
        self._points: dict[int, object] = {}
        _require_free(gate.host, port)
        with _quiet(), gate.installed():
            self._server = _Server(gate.host, port, label="OmniSeg3D", verbose=False)
        self._dress()
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._forget)

    @property
    def port(self) -> int:
        """Port that the page listens on."""
        return self._server.get_port()

    def serve(self) -> None:
        """Serve the visitors until `close` is called, from this thread alone."""
        while self._is_open:
            self._work.clear()
            self._admit()
            busy = [self._turn(number) for number in list(self._visitors)]
            if not any(busy):
                self._work.wait(_IDLE_SECONDS)

    def close(self) -> None:
        """Stop serving, from any thread."""
        self._is_open = False
        self._wake()
        with _quiet():
            self._server.stop()

    # Set-up

    def _dress(self) -> None:
        server = self._server
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="medium")
        server.gui.main_panel.dock_right()
        server.scene.set_up_direction("+z")
        server.scene.world_axes.visible = False

    # From viser's threads

    def _wake(self) -> None:
        self._work.set()

    def _welcome(self, client: viser.ClientHandle) -> None:
        name = _name_of(client)
        with self._lock:
            self._new.append((client, name))
        self._wake()

    def _forget(self, client: viser.ClientHandle) -> None:
        """Keep the work of a visitor who is gone, for when the browser loads the page again."""
        with self._lock:
            self._new = [(other, name) for other, name in self._new if other is not client]
            name, entry = self._names.pop(client.client_id, None), self._visitors.pop(client.client_id, None)
            if name is not None and entry is not None:
                self._left[name] = entry[0].controller
                while len(self._left) > MAX_LEFT:
                    del self._left[next(iter(self._left))]

    # In the thread that renders

    def _admit(self) -> None:
        """Make visitors of the browsers that have come."""
        with self._lock:
            come, self._new = self._new, []
        for client, name in come:
            if len(self._visitors) >= MAX_VISITORS:
                client.add_notification("Full", f"There are {MAX_VISITORS} visitors already; come back later.")
                continue
            with self._lock:
                controller = self._left.pop(name, None)
            if controller is None:
                controller = self._first.beside(shares_session=self._shared)
            elif not self._shared:
                controller.message = Message("welcome back: everything is as you left it")
            visitor = Visitor(client, controller, self._wake)
            cameras = draw_cameras(client.scene, controller.session.model)
            for photo, handle in cameras.items():
                handle.on_click(
                    lambda _, visitor=visitor, photo=photo: visitor.act(lambda c: actions.go_to_photo(c, photo))
                )

            def change(show_cameras: bool, points: str, visitor: Visitor = visitor, cameras: dict = cameras) -> None:
                for handle in cameras.values():
                    handle.visible = show_cameras
                self._draw_points(visitor, points)

            self._visitors[client.client_id] = visitor, Panel(visitor, change)
            self._names[client.client_id] = name

    def _turn(self, number: int) -> bool:
        """Serve one visitor for a moment. Returns whether there is more to do."""
        entry = self._visitors.get(number)
        if entry is None:
            return False
        visitor, panel = entry
        try:
            more = visitor.turn()
            panel.refresh()
        except Exception:
            if number not in self._visitors:  # gone meanwhile
                return False
            _log.exception("an error in the page")
            visitor.client.add_notification("Error", "Something went wrong; the terminal says what.", color="red")
            return False
        return more

    def _draw_points(self, visitor: Visitor, points: str) -> None:
        scene, layer = visitor.client.scene, visitor.controller.live.segments
        scene.remove_by_name("/points")
        if points == "none":
            return
        if points == "segments" and layer is not None:
            positions, colours = segment_cloud(layer)
        else:
            if self._cloud is None:
                self._cloud = surface_cloud(visitor.controller.session.model, progress=self._first.progress)
            positions, colours = self._cloud
        scene.add_point_cloud("/points", positions, colours, point_size=_POINT_SIZE, point_shape="circle")


class _Server(viser.ViserServer):
    """viser's server without its public tunnel, which any visitor could ask for."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Return None: no tunnel is opened."""
        return None


def _name_of(client: viser.ClientHandle) -> str:
    """Return the name that a browser got when it was here first, or give it one."""
    new = secrets.token_hex(8)
    try:
        name = client.local_storage.get_item(_NAME_KEY, timeout=_NAME_SECONDS)
        if name:
            return name
        client.local_storage.set_item(_NAME_KEY, new)
    except (RuntimeError, TimeoutError):  # gone already, or a browser that stores nothing
        pass
    return new


def _require_free(host: str, port: int) -> None:
    """Check that a port can be listened on; viser would take the next one without a word.

    Raises:
        InputError: it cannot.
    """
    if not 0 <= port < 1 << 16:
        raise BadArgument("port", f"expected 0 to {(1 << 16) - 1}, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        what = error.strerror or str(error)
        raise BadArgument("port", f"cannot be listened on at {host} ({what}); give another one", port) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep viser from printing a banner, whose address is not that of the page."""
    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
