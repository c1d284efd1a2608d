"""Serve a trained run as a web page."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omniseg.api.run import load
from omniseg.commands import common
from omniseg.devices import Device
from omniseg.errors import BadArgument, InputError
from omniseg.viewer.controller import Controller

_CPU_RENDER_WIDTH, _GPU_RENDER_WIDTH = 640, 1280
"""Defaults of --render-width, pixels."""
_BUDGET, _FIRST = 0.08, 0.12
"""Seconds that one step of rendering should take, after which a click is answered, and a picture while moving."""
_MIN_WIDTH = 16


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Serve a trained run as a web page: click on something to select it in 3D, and download what is selected.

    The page is reachable from this machine alone, and through ssh from others: ssh -L 8080:127.0.0.1:8080 SERVER. Every
    visitor has a camera and selections of their own. Ctrl-C ends it.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training with features."""
    port: int = 8080
    """Port of the page; 0: any that is free."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets every machine of the network in that knows the token."""
    token: Annotated[str | None, common.optional("WORD", "none on 127.0.0.1, else a random one")] = None
    """Word that visitors must have in the address."""
    shared: common.Switch = False
    """All visitors work on the same selections, each with a camera of their own."""
    render_width: Annotated[int | None, common.optional("PIXELS", "640 on a CPU, 1280 on a GPU")] = None
    """Render at most this many pixels in a row."""
    device: Device = "auto"
    """Device to compute on; auto: a GPU if there is one."""


def main() -> None:
    """Parse the command line and serve the page until Ctrl-C."""
    arguments = common.parse(Arguments)
    if arguments.render_width is not None and arguments.render_width < _MIN_WIDTH:
        raise BadArgument("render_width", f"expected at least {_MIN_WIDTH}, got {arguments.render_width}")
    if arguments.token is not None and not arguments.token.isalnum():
        raise BadArgument("token", "expected letters and digits")
    try:
        from omniseg.viewer.page.gate import Gate, is_loopback
        from omniseg.viewer.page.server import Page
    except ImportError as error:
        raise InputError("the page needs viser: pip install 'omniseg3d[viewer]'") from error
    run = load(arguments.run.resolve(), arguments.device)
    default = _CPU_RENDER_WIDTH if run.device.type == "cpu" else _GPU_RENDER_WIDTH
    width = arguments.render_width or default
    controller = Controller.from_run(run, render_width=width, budget=_BUDGET, first=_FIRST)
    token = arguments.token or (None if is_loopback(arguments.host) else secrets.token_urlsafe(16))
    page = Page(controller, Gate(arguments.host, token), arguments.port, shared=arguments.shared)
    _say_address(arguments.host, page.port, token)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            page.serve()
    finally:
        page.close()


def _say_address(host: str, port: int, token: str | None) -> None:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    end = f"/?token={token}" if token else "/"
    name = f"[{shown}]" if ":" in shown else shown
    common.say(f"the page is at http://{name}:{port}{end} (Ctrl-C ends it)")
    common.say(f"from another machine: ssh -L {port}:{name}:{port} SERVER, then http://127.0.0.1:{port}{end} there")
