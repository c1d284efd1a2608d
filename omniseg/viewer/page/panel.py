"""The controls of a visitor: each does an action of the controller, and shows what the controller holds."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from omniseg.export.surface import SurfaceKind
from omniseg.viewer import actions
from omniseg.viewer.actions import EXTENTS
from omniseg.viewer.controller import Action
from omniseg.viewer.gestures import Tool
from omniseg.viewer.keymap import BOX, EDITS, FILES, MASK, MAX_SPATIAL_WEIGHT, MULTI, NEXT_PICTURE, STROKE, Control
from omniseg.viewer.page.visitor import Visitor
from omniseg.viewer.panels import KINDS

if TYPE_CHECKING:
    import viser

TOOLS: dict[str, Tool] = {"click": "click", "box": "box", "stroke": "stroke"}
"""Tools by their labels."""
RESOLUTIONS = {"quick": 128, "normal": 256, "fine": 512}
"""Cells along the longest edge of a mesh, by label."""
_TAKES_AWAY = {"selects": False, "takes away": True}
_SURFACES: dict[str, tuple[str, SurfaceKind]] = {
    "GLB mesh": ("mesh.glb", "mesh"),
    "PLY mesh": ("mesh.ply", "mesh"),
    "points": ("points.ply", "points"),
}
_MOST_LEVELS = 24
"""Right end of the level slider before there are levels."""
_HOTKEYS = {"up": "pageup", "down": "pagedown", "tab": "tab", "backspace": "backspace", " ": "space"}
"""Keys of viser for those of the window that are no letters: the arrows move its camera."""

_HELP = """
**click** select what is there · **Shift** or **Ctrl click** take it away\\
**drag** turn · **right drag** move sideways · **wheel** nearer\\
**W A S D Q E**, arrows: fly · **Page up / down** larger, smaller\\
**U** undo · **Y** redo · **C** clear · **N** new selection · **Tab** next\\
**B** box · **T** stroke · **M** several clicks · **Space** next picture\\
**F** mask or heat · **G** segment everything
"""


class Panel:
    """The controls in the browser of one visitor.

    Args:
        visitor: to act for.
        on_scene: called with which cameras and points the visitor wants to see.
    """

    def __init__(self, visitor: Visitor, on_scene: Callable[[bool, str], None]) -> None:
        self._visitor, self._gui, self._on_scene = visitor, visitor.client.gui, on_scene
        self._shown: dict[str, object] = {}
        self._status = self._gui.add_html("")
        tabs = self._gui.add_tab_group()
        with tabs.add_tab("Select"):
            self._add_selecting()
        with tabs.add_tab("View"):
            self._add_viewing()
        with tabs.add_tab("Files"):
            self._add_files()
        self._add_keys()

    # The controls

    def _add_selecting(self) -> None:
        gui, session = self._gui, self._visitor.controller.session
        with gui.add_folder(None):
            self._tool = gui.add_dropdown("Tool", tuple(TOOLS), hint="Click, or drag a box or a stroke")
            self._on_change(self._tool, lambda tool: self._act(lambda c: actions.take_tool(c, TOOLS[tool])))
            self._away = gui.add_dropdown("A click", tuple(_TAKES_AWAY), hint="Shift or Ctrl with a click takes away")
            self._on_change(self._away, self._set_away)
            self._multi = gui.add_checkbox("Several clicks", False, hint="A click adds to the clicks before it")
            self._on_change(self._multi, lambda _: self._act(MULTI.action))
        with gui.add_folder(None):
            self._level = gui.add_slider("Level", 0, _MOST_LEVELS, 1, 0, disabled=True, hint="0: the smallest part")
            self._on_change(self._level, lambda level: self._act(lambda c: c.session.set_level(level)))
            self._threshold = gui.add_slider("Threshold", 0.0, 1.0, 0.001, session.current.threshold)
            self._on_change(self._threshold, lambda value: self._act(lambda c: c.session.set_threshold(value)))
            self._weight = gui.add_slider("Spatial weight", 0.0, MAX_SPATIAL_WEIGHT, 0.05, 0.0)
            self._weight.hint = "How fast the score falls with the distance from a click"
            self._on_change(self._weight, lambda value: self._act(lambda c: c.session.set_spatial_weight(value)))
        self._add_buttons(None, {"Undo": EDITS[0], "Redo": EDITS[1], "Clear": EDITS[4]})
        with gui.add_folder("Selections"):
            self._list = gui.add_html("")
            self._active = gui.add_dropdown("Active", (session.current.name,))
            self._on_change(self._active, self._activate)
            self._name = gui.add_text("Name", session.current.name)
            self._on_change(self._name, lambda name: self._act(lambda c: c.session.rename(name)))
            self._add_buttons(None, {"New": EDITS[5], "Remove": EDITS[7]})

    def _add_viewing(self) -> None:
        gui, live = self._gui, self._visitor.controller.live
        with gui.add_folder(None):
            self._kind = gui.add_dropdown("Picture", KINDS)
            self._on_change(self._kind, lambda kind: self._act(lambda c: actions.show(c, kind)))
            self._mask = gui.add_checkbox("Mask", True, hint="Show what is selected; otherwise the score as heat")
            self._on_change(self._mask, lambda _: self._act(MASK.action))
        with gui.add_folder("Everything"):
            find = gui.add_button("Segment everything", hint="Takes ten seconds or more the first time")
            find.on_click(lambda _: self._act(actions.segment_all))
            self._segment_level = gui.add_slider("Level", 0, 1, 1, 0, disabled=True)
            self._on_change(self._segment_level, lambda level: self._act(lambda c: actions.set_segment_level(c, level)))
            gui.add_markdown("In the picture *segments*, a click takes the segment as a selection.")
        with gui.add_folder("Photos"):
            names = live.viewpoints.names
            self._photo = gui.add_dropdown("Viewpoint", names, initial_value=names[live.photo])
            self._on_change(self._photo, lambda name: self._act(lambda c: actions.go_to_photo(c, names.index(name))))
            steps = {"Previous": -1, "Next": 1}
            group = gui.add_button_group("Step", tuple(steps))
            group.on_click(lambda event: self._act(lambda c: actions.step_photo(c, steps[event.target.value])))
        with gui.add_folder("3D"):
            self._cameras = gui.add_checkbox(
                "Cameras", False, hint="Those of the photos; click on one to look from there"
            )
            self._points = gui.add_dropdown("Points", ("none", "coloured", "segments"))
            self._picture = gui.add_checkbox(
                "Picture", True, hint="Render; without it, only cameras and points are drawn"
            )
            for handle in (self._cameras, self._points):
                self._on_change(handle, lambda _: self._change_scene())
            self._on_change(self._picture, lambda _: self._change_scene())

    def _add_files(self) -> None:
        gui = self._gui
        with gui.add_folder("Download"):
            view = gui.add_button("Masks and cut-outs of this view")
            view.on_click(lambda _: self._act(actions.download_view))
            saved = gui.add_button("Selections as .json")
            saved.on_click(lambda _: self._act(actions.download_selections))
            extent = gui.add_dropdown("Surface of", EXTENTS)
            resolution = gui.add_dropdown("Resolution", tuple(RESOLUTIONS), hint="Fine takes minutes on a CPU")
            surfaces = gui.add_button_group("As", tuple(_SURFACES))

            @surfaces.on_click
            def _(event: Any) -> None:
                name, kind = _SURFACES[event.target.value]
                cells, chosen = RESOLUTIONS[resolution.value], extent.value
                self._act(lambda c: actions.download_surface(c, name, kind, chosen, cells))

        with gui.add_folder("Upload"):
            upload = gui.add_upload_button("Selections from .json", mime_type="application/json")

            @upload.on_upload
            def _(event: Any) -> None:
                file = event.target.value
                self._act(lambda c: actions.upload_selections(c, file.name, file.content))

        with gui.add_folder("Run folder"):
            self._add_buttons("Selections", {"Save": FILES[0], "Load": FILES[1]})
        gui.add_markdown(_HELP)

    def _add_buttons(self, title: str | None, controls: dict[str, Control]) -> None:
        group = self._gui.add_button_group(title or "", tuple(controls))
        group.on_click(lambda event: self._act(controls[event.target.value].action))

    def _add_keys(self) -> None:
        """Let keys do what they do in the window; a key and a button are the same action."""
        for control in (*EDITS, MULTI, BOX, STROKE, MASK, NEXT_PICTURE, FILES[4]):
            hotkey: Any = _HOTKEYS.get(control.key, control.key.upper())
            command = self._gui.add_command(control.label.split("  ")[0], hotkey=hotkey)
            command.on_trigger(lambda _, control=control: self._act(control.action))

    # From viser's threads

    def _act(self, action: Action) -> None:
        self._visitor.act(action)

    def _on_change(self, handle: Any, then: Callable[[Any], None]) -> None:
        """Call a function with the new value of a control when the visitor, and not `refresh`, changes it."""

        @handle.on_update
        def _(event: viser.GuiEvent[Any]) -> None:
            if event.client is not None:
                then(event.target.value)

    def _set_away(self, label: str) -> None:
        self._visitor.takes_away = _TAKES_AWAY[label]

    def _activate(self, label: str) -> None:
        number = self._labels().index(label) if label in self._labels() else -1
        self._act(lambda c: c.session.activate(number))

    def _change_scene(self) -> None:
        cameras, points, picture = self._cameras.value, self._points.value, self._picture.value

        def change() -> None:
            self._visitor.shows_rendering = picture
            self._visitor.sends_depth = cameras or points != "none"
            self._on_scene(cameras, points)

        self._visitor.post(change)

    # In the thread that renders

    def refresh(self) -> None:
        """Show what the controller holds, where it differs from what is shown."""
        controller = self._visitor.controller
        session, live, message = controller.session, controller.live, controller.message
        if self._is_new("message", message):
            colour = "#f08c00" if message.is_refusal else "#2f9e44"
            style = f"margin:0.6em 1em;color:{colour};min-height:3.6em;font-size:0.9em;line-height:1.3"
            self._status.content = f'<div id="message" style="{style}">{html.escape(message.text)}</div>'
        if self._is_new("session", (session.selections, session.mode, controller.tool)):
            self._tool.value = next(label for label, tool in TOOLS.items() if tool == controller.tool)
            self._multi.value = session.mode == "multi"
            self._threshold.value = session.current.threshold
            self._weight.value = min(session.current.spatial_weight, MAX_SPATIAL_WEIGHT)
            self._show_selections()
        if session.view is not None and self._is_new("levels", (session.selections, session.view)):
            level, count = controller.level()
            self._level.disabled = count == 0
            if count:
                self._level.max = max(count - 1, 1)
                self._level.value = level
        layer = live.segments
        if self._is_new("view", (live.shown, live.show_mask, live.photo, layer and layer.level)):
            self._kind.value = live.shown if live.shown in KINDS else "colour"
            self._mask.value = live.show_mask
            self._photo.value = live.viewpoints.names[live.photo]
            if layer is not None:
                self._segment_level.max = layer.tree.config.levels - 1
                self._segment_level.disabled = False
                self._segment_level.value = layer.level

    def _show_selections(self) -> None:
        selections = self._visitor.controller.session.selections
        rows = []
        for number, selection in enumerate(selections.all):
            clicks = len(selection.clicks)
            weight = "bold" if number == selections.active else "normal"
            rows.append(
                '<div style="display:flex;align-items:center;gap:0.5em;margin:0.15em 0">'
                f'<span style="width:0.9em;height:0.9em;border-radius:50%;background:rgb{selection.colour}"></span>'
                f'<span style="font-weight:{weight}">{html.escape(selection.name)}</span>'
                f'<span style="opacity:0.6">{clicks} click{"s" * (clicks != 1)}</span></div>'
            )
        self._list.content = f'<div id="selections" style="margin:0.3em 1em">{"".join(rows)}</div>'
        labels = self._labels()
        self._active.options = labels
        self._active.value = labels[selections.active]
        self._name.value = selections.current.name

    def _labels(self) -> tuple[str, ...]:
        return tuple(selection.name for selection in self._visitor.controller.session.selections.all)

    def _is_new(self, name: str, state: object) -> bool:
        """Return whether a part of the controller's state differs from the one that is shown, and take it as shown."""
        if name in self._shown and self._shown[name] == state:
            return False
        self._shown[name] = state
        return True
