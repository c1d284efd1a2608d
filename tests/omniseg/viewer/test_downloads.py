"""Files that a browser is given, and those that it sends."""

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from learned_ball import learned_ball
from omniseg.errors import InputError
from omniseg.selection.session import SegmentationSession
from omniseg.selection.survey import feature_colours
from omniseg.viewer import actions
from omniseg.viewer.controller import Controller
from omniseg.viewer.downloads import MAX_UPLOAD_BYTES, Download
from omniseg.viewer.live_view import LiveView

BALL = 40.0, 30.0


@pytest.fixture
def controller(device: torch.device, tmp_path: Path) -> Controller:
    model = learned_ball(device)
    session = SegmentationSession(model, "f")
    live = LiveView(session, feature_colours(model, progress=False), model.viewpoints)
    live.size = 80, 60
    controller = Controller(session, live, tmp_path / "run", progress=False)
    while controller.update():
        pass
    return controller


def click(controller: Controller, x: float = BALL[0], y: float = BALL[1]) -> None:
    controller.press("left", x, y)
    controller.release(x, y)


def taken(controller: Controller) -> Download:
    """The one file that is to be sent; nothing is left in the run folder."""
    (download,) = controller.downloads
    controller.downloads = []
    assert str(download) == controller.message.text
    assert not controller.files.folder.exists()
    return download


def test_without_a_selection_everything_is_refused(controller: Controller):
    for action in (
        actions.download_view,
        actions.download_selections,
        lambda c: actions.download_surface(c, "mesh.ply", "mesh", "this selection", 32),
        lambda c: actions.download_surface(c, "mesh.ply", "mesh", "all selections", 32),
    ):
        controller.act(action)
        assert controller.message.is_refusal
        assert "nothing is selected" in controller.message.text
    assert not controller.downloads


def test_masks_and_cut_outs_wait_for_the_sharp_picture(controller: Controller):
    click(controller)
    controller.live.camera = controller.live.camera.orbit(0.05, 0.0)
    controller.act(actions.download_view)
    assert "as soon as the picture is sharp" in controller.message.text
    assert not controller.downloads
    while controller.update():
        pass
    download = taken(controller)
    assert download.name == "view.zip"
    with zipfile.ZipFile(io.BytesIO(download.content)) as archive:
        names = {"masks/selection 1/view.png", "cutouts/selection 1/view.png", "overlays/view.png", "selections.json"}
        assert set(archive.namelist()) == names
        mask = cv2.imdecode(np.frombuffer(archive.read("masks/selection 1/view.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert ((mask > 0) == controller.session.mask()).all()


def test_selections_come_back(controller: Controller):
    click(controller)
    kept = controller.session.selections
    controller.act(actions.download_selections)
    download = taken(controller)
    controller.session.clear()
    controller.act(lambda c: actions.upload_selections(c, "mine.json", download.content))
    assert controller.message.text.startswith("loaded 1 selection from mine.json; selection 1: ")
    assert controller.session.selections == kept


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "not a selection file"),
        (b"x" * (MAX_UPLOAD_BYTES + 1), "too many"),
    ],
)
def test_a_bad_upload_changes_nothing(controller: Controller, content: bytes, words: str):
    click(controller)
    kept = controller.session.selections
    controller.act(lambda c: actions.upload_selections(c, "mine.json", content))
    assert controller.message.is_refusal
    assert controller.message.text.startswith("mine.json: ")
    assert words in controller.message.text
    assert controller.session.selections == kept


def test_selections_of_another_field_are_refused(controller: Controller):
    click(controller)
    controller.act(actions.download_selections)
    content = json.loads(taken(controller).content) | {"features": "another"}
    with pytest.raises(InputError, match=r"^mine\.json: was made with another feature field"):
        actions.upload_selections(controller, "mine.json", json.dumps(content).encode())


def faces(download: Download) -> int:
    header = download.content[:2000].decode("latin1")
    return int(header.partition("element face ")[2].split()[0])


def test_meshes_and_points(controller: Controller):
    click(controller)
    controller.session.set_level(0)
    controller.act(lambda c: actions.download_surface(c, "mesh.ply", "mesh", "this selection", 32))
    part = taken(controller)
    controller.act(lambda c: actions.download_surface(c, "mesh.ply", "mesh", "whole scene", 32))
    whole = taken(controller)
    assert 10 < faces(part) < faces(whole)
    controller.session.new_selection()
    click(controller, 25.0, 40.0)
    controller.act(lambda c: actions.download_surface(c, "points.ply", "points", "all selections", 32))
    points = taken(controller)
    assert points.name == "points.ply"
    assert points.content.startswith(b"ply")
    assert b"property" in points.content[:1000]
    controller.act(lambda c: actions.download_surface(c, "mesh.glb", "mesh", "this selection", 32))
    assert taken(controller).content.startswith(b"glTF")


def test_sizes_are_said(controller: Controller):
    assert str(Download("a.ply", b"x" * 1_500_000)) == "a.ply, 1.5 MB"
    assert str(Download("a.json", b"x" * 2_345)) == "a.json, 2.3 kB"
