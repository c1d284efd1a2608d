"""Structure from motion on photos whose poses are known. Most of the time goes to COLMAP."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from command_line import content
from corner_photos import FOCAL, arc, position_error, turn, write_photos, write_video
from helpers import ROOT
from omniseg.data.formats import read_scene
from omniseg.errors import InputError
from omniseg.sfm import poses as poses_module
from omniseg.sfm.config import SfmConfig
from omniseg.sfm.poses import estimate_poses

pytest.importorskip("pycolmap", minversion="4.0", reason="structure from motion: pip install -e '.[sfm]'")
pytestmark = pytest.mark.slow

QUICK = SfmConfig(max_features=700)
N = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Folder with `photos` and the capture that was made of them."""
    folder = tmp_path_factory.mktemp("sfm")
    estimate_poses(write_photos(folder / "photos", arc(N)), folder / "capture", config=QUICK, progress=False)
    return folder


@pytest.fixture
def capture(made, tmp_path) -> Path:
    """Copy of the capture, which a test may change."""
    return Path(shutil.copytree(made / "capture", tmp_path / "capture"))


def centres(capture: Path) -> tuple[np.ndarray, list[int]]:
    """Return the camera centres of a capture, and the number in the name of each."""
    views = read_scene(capture).views
    return np.stack([view.c2w[:, 3] for view in views]), [int(view.name.split("_")[-1]) for view in views]


def test_the_poses_of_photos_are_right(made):
    found, numbers = centres(made / "capture")
    assert sorted(numbers) == list(range(N))
    assert position_error(found, arc(N)[numbers][:, :, 3]) < 0.01
    camera = read_scene(made / "capture").views[0].camera
    assert camera.fx == pytest.approx(FOCAL, rel=0.02)
    assert sorted(path.name for path in (made / "capture").iterdir()) == ["images", "poses.json", "sparse"]


def test_what_is_done_is_not_done_again(made, capture, monkeypatch):
    before = content(capture)
    monkeypatch.setattr(poses_module.supervisor, "run_worker", None)
    report = estimate_poses(made / "photos", capture, config=QUICK, progress=False)
    assert (report.n_registered, report.n_images, report.root) == (N, N, capture)
    assert report.error < 0.5
    assert content(capture) == before


def test_other_photos_or_poses_are_not_replaced_unasked(made, capture, tmp_path):
    other = write_photos(tmp_path / "other", arc(5))
    with pytest.raises(InputError, match=r"holds poses of other photos or frames.*--overwrite"):
        estimate_poses(other, capture, progress=False)
    with pytest.raises(InputError, match=r"holds poses of other photos or frames.*--overwrite"):
        estimate_poses(made / "photos", capture, frames=4, progress=False)
    (capture / "poses.json").unlink()
    with pytest.raises(InputError, match="holds poses that were not made here"):
        estimate_poses(made / "photos", capture, progress=False)
    shutil.rmtree(capture / "sparse")
    with pytest.raises(InputError, match="holds other images"):
        estimate_poses(other, capture, progress=False)


def test_overwrite_replaces_poses_and_images(capture, tmp_path):
    other = write_photos(tmp_path / "other", arc(5, 40), suffix=".png")
    estimate_poses(other, capture, config=QUICK, overwrite=True, progress=False)
    assert centres(capture)[1] == [0, 1, 2, 3, 4]
    assert {path.suffix for path in (capture / "images").iterdir()} == {".png"}
    assert sorted(path.name for path in capture.iterdir()) == ["images", "poses.json", "sparse"]


def test_a_video_becomes_a_capture_of_its_sharpest_frames(tmp_path):
    poses = arc(27)
    video = write_video(tmp_path / "walk.mp4", poses, blur=3)
    report = estimate_poses(video, tmp_path / "capture", frames=9, config=QUICK, progress=False)
    found, numbers = centres(tmp_path / "capture")
    assert report.n_registered == len(numbers) == 9
    assert all(k % 3 == 1 for k in numbers)
    assert position_error(found, poses[numbers][:, :, 3]) < 0.02


def test_photos_that_lie_in_the_capture_stay_as_they_are(tmp_path):
    images = write_photos(tmp_path / "desk" / "images", arc(5, 40))
    before = content(images)
    report = estimate_poses(images, config=QUICK, progress=False)
    assert report.root == tmp_path / "desk"
    assert content(images) == before
    assert len(read_scene(tmp_path / "desk").views) == 5


@pytest.mark.parametrize("mapper", ["global"])
@pytest.mark.parametrize("matching", ["similar", "sequential"])
def test_other_ways_to_match_and_to_map_give_the_same_poses(made, tmp_path, mapper, matching):
    config = SfmConfig(max_features=700, mapper=mapper, matching=matching, neighbours=4, overlap=3)
    estimate_poses(made / "photos", tmp_path / "capture", config=config, progress=False)
    found, numbers = centres(tmp_path / "capture")
    assert len(numbers) == N
    assert position_error(found, arc(N)[numbers][:, :, 3]) < 0.03


def test_two_cameras_get_parameters_of_their_own(tmp_path):
    folder = write_photos(tmp_path / "photos", arc(N))
    for k in range(1, N, 2):  # as a camera of another size would see it
        path = str(folder / f"IMG_{k}.jpg")
        cv2.imwrite(path, cv2.resize(cv2.imread(path), None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC))
    estimate_poses(folder, tmp_path / "capture", config=QUICK, progress=False)
    cameras = {view.camera for view in read_scene(tmp_path / "capture").views}
    assert sorted(camera.width for camera in cameras) == [320, 480]
    for camera in cameras:
        assert camera.fx == pytest.approx(FOCAL * camera.width / 320, rel=0.03)


# Failures


def test_a_camera_that_turns_on_the_spot_is_refused_with_advice(tmp_path):
    photos = write_photos(tmp_path / "photos", turn(6))
    with pytest.raises(InputError, match=r"No parallax.*walk around the subject"):
        estimate_poses(photos, tmp_path / "capture", config=QUICK, progress=False)
    assert not (tmp_path / "capture" / "sparse").exists()


def test_fewer_than_half_of_the_photos_are_refused_and_their_features_kept(tmp_path):
    photos = write_photos(tmp_path / "photos", arc(4, 30))
    for k in range(4, 10):
        cv2.imwrite(str(photos / f"IMG_{k}.jpg"), np.full((240, 320, 3), 90, np.uint8))
    with pytest.raises(InputError, match=r"only [0-4] of 10 images can be registered \(not IMG_\d"):
        estimate_poses(photos, tmp_path / "capture", config=QUICK, progress=False)
    assert [path.name for path in (tmp_path / "capture").iterdir()] == ["poses.partial"]
    assert (tmp_path / "capture" / "poses.partial" / "database.db").is_file()


COMMAND = """
import sys
from omniseg.sfm.config import SfmConfig
from omniseg.sfm.poses import estimate_poses
estimate_poses(sys.argv[1], sys.argv[2], config=SfmConfig(max_features=700), progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("stage", ["features", "poses"])
def test_a_run_that_is_killed_leaves_no_model_and_goes_on(made, tmp_path, stage):
    out = tmp_path / "capture"
    work = out / "poses.partial"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen([sys.executable, "-c", COMMAND, str(made / "photos"), str(out)], env=environment)
    begun = work / "database.db" if stage == "features" else work / "models"
    try:
        end = time.monotonic() + 120
        while not begun.exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert not (out / "sparse").exists()
    images = json.loads((work / "images.json").read_text())
    report = estimate_poses(made / "photos", out, config=QUICK, progress=False)
    assert report.n_registered == len(images["names"]) == N
    assert sorted(path.name for path in out.iterdir()) == ["images", "poses.json", "sparse"]


@pytest.mark.parametrize("step", range(4))
def test_a_kill_while_results_are_moved_into_place_is_mended_by_the_next_start(made, tmp_path, monkeypatch, step):
    out = tmp_path / "capture"
    work = out / "poses.partial"
    shutil.copytree(made / "capture" / "images", work / "images")
    shutil.copytree(made / "capture" / "sparse" / "0", work / "model")
    record = json.loads((made / "capture" / "poses.json").read_text())
    names = [f"IMG_{k}.jpg" for k in range(N)]
    features = [QUICK.lens, QUICK.image_size, QUICK.enlarge_below, QUICK.max_features]
    images = {"names": names, "sharpness": [1.0] * N, "groups": [list(range(N))], "sideways": 0}
    (work / "images.json").write_text(json.dumps({"settings": {**record["origin"], "features": features}, **images}))
    facts = {"models": [N], "points": 900, "error": 0.5, "parallax": 30.0, "flat_pairs": 0.0}
    facts["images"] = [{"name": name, "features": 900, "partners": 5, "registered": True} for name in names]
    (work / "facts.json").write_text(json.dumps(facts))
    if step >= 1:
        (work / "images").rename(out / "images")
    if step >= 2:
        shutil.copy(made / "capture" / "poses.json", out)
    if step >= 3:
        (out / "sparse").mkdir()
        (work / "model").rename(out / "sparse" / "0")
    monkeypatch.setattr(poses_module.supervisor, "run_worker", None)
    assert estimate_poses(made / "photos", out, config=QUICK, progress=False).n_registered == N
    assert len(read_scene(out).views) == N
