"""One visitor of the page: a browser's camera, mouse and pictures, joined to a controller."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from omniseg.cameras import Camera
from omniseg.rendering.view import RenderedView
from omniseg.viewer.controller import Action, Controller, Message
from omniseg.viewer.gestures import Tool
from omniseg.viewer.orbit_camera import OrbitCamera

if TYPE_CHECKING:
    import viser

MAX_PICTURE_WIDTH = 1280
"""Limit of the width of the pictures that are sent, pixels; the browser enlarges them."""
_JPEG_QUALITY = 85
_SAME_CAMERA = 1e-4
"""Difference below which two cameras are one: a browser repeats the camera that it was given, in single precision."""
_FIRST_PATIENCE, _PATIENCE = 8.0, 1.0
"""Seconds for a browser to take over a camera that it is sent: its first one, and a later one."""
_FARTHEST = 160.0
"""Depth that is sent where nothing is seen, scene units: viser has 24 bits of 1e-5, so it ends at 167."""
_CATCHER = "/catcher"
_CATCHER_RADIUS = 300.0
"""Radius of an invisible sphere, around everything, on which strokes are drawn, scene units."""


class Visitor:
    """A browser and its controller.

    viser calls from threads of its own, and they only leave work here (`post`, `follow`). All of it is done by `turn`,
    in the one thread that renders: kernels and sessions are used by one thread at a time.

    Args:
        client: the browser.
        controller: of this visitor.
        wake: called when there is work.
    Attributes:
        takes_away: whether clicks and strokes take away without a key held, too.
        shows_rendering: whether the picture is rendered at all, or only the 3D scene drawn.
        sends_depth: whether sharp pictures come with their depth, so that they hide what is behind them.
    """

    def __init__(self, client: viser.ClientHandle, controller: Controller, wake: Callable[[], None]) -> None:
        self.client, self.controller, self._wake = client, controller, wake
        self.takes_away, self.shows_rendering, self.sends_depth = False, True, False
        self._work: deque[Callable[[], None]] = deque()
        self._pose: tuple[np.ndarray, np.ndarray, np.ndarray, float, int, int] | None = None
        self._sent: tuple[int, bool] | None = None
        self._kept: np.ndarray | None = None
        self._message: Message | None = None
        self._notification: viser.NotificationHandle | None = None
        self._catcher: viser.SceneNodeHandle | None = None
        self._listens_for_box = False
        self._known_camera: OrbitCamera | None = None
        self._awaits_until = math.inf
        self._focused: RenderedView | None = None
        client.camera.on_update(self.follow)
        for modifier in (None, "shift", "cmd/ctrl"):
            client.scene.on_click(modifier=modifier)(self._clicked)
        self.follow(client.camera)

    # From viser's threads

    def post(self, work: Callable[[], None]) -> None:
        """Leave work for the next turn."""
        self._work.append(work)
        self._wake()

    def act(self, action: Action) -> None:
        """Do an action in the next turn."""
        self.post(lambda: self.controller.act(action))

    def follow(self, camera: viser.CameraHandle) -> None:
        """Leave the browser's camera for the next turn; only the latest one counts."""
        state = camera.wxyz, camera.position, camera.look_at, camera.fov, camera.image_width, camera.image_height
        self._pose = state
        self._wake()

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        reject = self.takes_away or event.modifier is not None
        self.post(lambda: self._gesture([event.screen_pos], reject))

    def _boxed(self, event: viser.SceneRectSelectEvent) -> None:
        self.post(lambda: self._gesture([event.screen_min, event.screen_max], reject=False))

    async def _stroked(self, event: viser.SceneNodeDragEvent[viser.IcosphereHandle]) -> None:
        reject = self.takes_away or event.modifier is not None
        start, end = event.start_screen_pos, event.end_screen_pos
        if event.phase == "start":
            self.post(lambda: self._press(start, reject))
        self.post(lambda: self._move(end))
        if event.phase == "end":
            self.post(lambda: self._release(end))

    # In the thread that renders

    def turn(self) -> bool:
        """Do what was left here, render one step, and send what has changed. Returns whether there is more to do."""
        controller = self.controller
        controller.take_turn()
        if self._pose is not None:
            pose, self._pose = self._pose, None
            self._see(*pose)
        while self._work:
            self._work.popleft()()
        self._use_tool(controller.tool)
        more = self.shows_rendering and controller.update()
        view = controller.session.view
        if not more and view is not self._focused:
            self._focused = view
            controller.live.focus()  # so that the browser's next drag turns around what is in the middle
        self._send_camera()
        self._send_picture(more)
        self._send_message()
        self._send_downloads()
        return more

    def _see(
        self, wxyz: np.ndarray, position: np.ndarray, look_at: np.ndarray, fov: float, width: int, height: int
    ) -> None:
        """Take over the browser's camera and the size of its picture."""
        if min(width, height) < 1 or not np.isfinite([*position, *look_at, fov]).all():
            return
        live, before = self.controller.live, self.controller.live.camera
        factor = min(MAX_PICTURE_WIDTH / width, 1.0)
        width, height = max(round(width * factor), 1), max(round(height * factor), 1)
        # viser draws fewer pixels where a browser is slow; that is no other picture.
        if not 0.99 < width / height * live.size[1] / live.size[0] < 1.01 or width > live.size[0]:
            live.size = width, height
        width, height = live.size
        if self._known_camera is None:  # the browser has no camera of ours yet
            return
        focal = height / 2 / math.tan(fov / 2)
        lens = Camera(width=width, height=height, fx=focal, fy=focal, cx=width / 2, cy=height / 2)
        c2w = np.column_stack([_rotation(wxyz), position])
        camera = OrbitCamera.from_pose(c2w, float(np.linalg.norm(look_at - position)), lens, before.device)
        if time.monotonic() < self._awaits_until:
            if not np.allclose(camera.eye, self._known_camera.eye, rtol=0, atol=_SAME_CAMERA):
                return  # sent before the browser got the last camera
            self._awaits_until = -math.inf
        if camera.lens != before.lens or not _alike(camera, before):
            live.camera = camera
        self._known_camera = live.camera

    def _send_camera(self) -> None:
        """Move the browser's camera to the controller's, at first and where an action has moved that."""
        live, known = self.controller.live, self._known_camera
        camera = live.camera
        if camera is known:
            return
        self._known_camera = camera
        if known is not None and _alike(camera, known):
            return
        if known is None or not np.allclose(camera.eye, known.eye, rtol=0, atol=_SAME_CAMERA):
            self._awaits_until = time.monotonic() + (_FIRST_PATIENCE if known is None else _PATIENCE)
        with self.client.atomic():
            self.client.camera.fov = 2 * math.atan(live.size[1] / 2 / camera.focal_length(*live.size))
            self.client.camera.position = np.array(camera.eye)
            self.client.camera.look_at = np.array(camera.target)

    def _send_picture(self, more: bool) -> None:
        controller, scene = self.controller, self.client.scene
        view = controller.session.view
        if not self.shows_rendering:
            if self._sent is not None:
                scene.set_background_image(None)
                self._sent = None
            return
        if view is None:
            return
        picture = controller.picture()
        with_depth = self.sends_depth and not more
        if self._sent is not None and self._sent == (id(picture), with_depth):
            return
        self._sent = id(picture), with_depth
        self._kept = picture  # its id is not given to another one meanwhile
        depth = None
        if with_depth:
            along = view.cameras.c2w[0, :, 2].cpu().numpy()
            eye = view.cameras.c2w[0, :, 3].cpu().numpy()
            positions = view.positions.cpu().numpy() - eye
            solid = view.solid.cpu().numpy()
            depth = np.where(solid, positions @ along, _FARTHEST).reshape(view.height, view.width).astype(np.float32)
        scene.set_background_image(picture, format="jpeg", jpeg_quality=_JPEG_QUALITY, depth=depth)

    def _send_message(self) -> None:
        message = self.controller.message
        if message is self._message:
            return
        self._message = message
        if self._notification is not None:
            self._notification.remove()
            self._notification = None
        if message.is_refusal:
            self._notification = self.client.add_notification("Not done", message.text, color="orange")

    def _send_downloads(self) -> None:
        downloads, self.controller.downloads = self.controller.downloads, []
        for download in downloads:
            self.client.send_file_download(download.name, download.content, save_immediately=True)

    # The mouse: points are fractions of the picture

    def _gesture(self, points: list[tuple[float, float]], reject: bool) -> None:
        self._press(points[0], reject)
        for point in points[1:]:
            self._move(point)
        self._release(points[-1])

    def _press(self, point: tuple[float, float], reject: bool) -> None:
        self.controller.press("left", *self._pixel(point), reject=reject)

    def _move(self, point: tuple[float, float]) -> None:
        self.controller.move(*self._pixel(point))

    def _release(self, point: tuple[float, float]) -> None:
        self.controller.release(*self._pixel(point))

    def _pixel(self, point: tuple[float, float]) -> tuple[float, float]:
        width, height = self.controller.live.size
        return point[0] * width, point[1] * height

    def _use_tool(self, tool: Tool) -> None:
        """Let a drag of the left button draw what the tool draws, or move the camera."""
        scene = self.client.scene
        if (tool == "box") != self._listens_for_box:
            self._listens_for_box = tool == "box"
            if self._listens_for_box:
                scene.on_rect_select()(self._boxed)
            else:
                scene.remove_rect_select_callback()
        if tool == "stroke" and self._catcher is None:
            sphere = scene.add_icosphere(
                _CATCHER, _CATCHER_RADIUS, subdivisions=2, opacity=0.0, side="double",
                cast_shadow=False, receive_shadow=False,
            )  # fmt: skip
            for modifier in (None, "shift", "cmd/ctrl"):
                sphere.on_drag("left", modifier=modifier)(self._stroked)
            self._catcher = sphere
        elif tool != "stroke" and self._catcher is not None:
            self._catcher.remove()
            self._catcher = None


def _rotation(wxyz: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) of a quaternion."""
    from scipy.spatial.transform import Rotation

    w, x, y, z = wxyz
    return Rotation.from_quat([x, y, z, w]).as_matrix()


def _alike(a: OrbitCamera, b: OrbitCamera) -> bool:
    """Return whether two cameras have the same pose and the same target."""
    numbers = [
        (*camera.eye, *camera.target, math.sin(camera.heading), math.cos(camera.heading), camera.pitch)
        for camera in (a, b)
    ]
    return bool(np.allclose(*numbers, rtol=0, atol=_SAME_CAMERA))
