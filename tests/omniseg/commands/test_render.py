"""render follows every camera path, into pictures and videos."""

import json
from pathlib import Path

import cv2
import pytest

from command_line import Run, content
from omniseg.run_folder import load_photo_depth
from scene_files import opengl, orbit


def pictures(folder: str) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*.png"))


@pytest.mark.parametrize(("path", "n"), [("orbit", 3), ("spiral", 3), ("views", 10), ("test", 2)])
def test_every_path_gives_pictures(command: Run, run: Path, path: str, n: int):
    before = content(run)
    done = command("render", run, "--out", "out", "--path", path, "--frames", "3", "--width", "16")
    assert done.status == 0, done.err
    assert f"{n} pictures in out" in done.out
    assert len(pictures("out")) == n
    assert all(cv2.imread(f"out/{name}").shape == (16, 16, 3) for name in pictures("out"))
    assert content(run) == before


@pytest.mark.parametrize("show", ["rgb", "depth"])
def test_a_video_has_every_frame(command: Run, run: Path, show: str):
    done = command("render", run, "--out", "new/a.mp4", "--frames", "5", "--show", show, "--background", "black")
    assert done.status == 0, done.err
    video = cv2.VideoCapture("new/a.mp4")
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    assert int(video.get(cv2.CAP_PROP_FRAME_WIDTH)) == 24
    assert "rendering: 100%" in done.err


def test_depth_from_the_photos_is_shown_for_each_photo_that_was_trained_on(command: Run, run: Path):
    before = content(run)
    done = command("render", run, "--out", "out", "--path", "views", "--show", "photo-depth", "--width", "32")
    assert done.status == 0, done.err
    kept = load_photo_depth(run)
    assert kept is not None
    assert f"{len(kept.maps)} pictures in out" in done.out
    assert pictures("out") == sorted(f"{name}.png" for name in kept.maps.names)
    assert len(kept.maps) == 8, "the two held-out photos have none"
    assert all(cv2.imread(f"out/{name}").shape == (32, 32, 3) for name in pictures("out"))
    assert content(run) == before
    command("render", run, "--out", "a", "--show", "photo-depth").refused("--path orbit", "views")
    (run / "photo_depth.safetensors").unlink()
    arguments = ("--out", "a", "--show", "photo-depth", "--path", "views")
    command("render", run, *arguments).refused(run, "keeps no depth from its photos")
    assert not Path("a").exists()


def test_a_camera_file_gives_one_picture_a_camera(command: Run, run: Path):
    frames = [{"transform_matrix": opengl(c2w)} for c2w in orbit(2, 4.0)]
    Path("my path.json").write_text(json.dumps({"w": 20, "h": 10, "camera_angle_x": 0.6, "frames": frames}))
    done = command("render", run, "--out", "out", "--path", "my path.json")
    assert done.status == 0, done.err
    assert pictures("out") == ["0000.png", "0001.png"]
    assert cv2.imread("out/0000.png").shape == (10, 20, 3)


def test_rendering_needs_no_capture(command: Run, run: Path):
    text = (run / "config.yaml").read_text().splitlines()
    (run / "config.yaml").write_text("\n".join("scene: /gone" if s.startswith("scene:") else s for s in text))
    assert command("render", run, "--out", "out", "--frames", "1").status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "a.avi"), ("--out a.avi", ".mp4")),
        (("--out", "a.mp4", "--frames", "0"), ("--frames", "at least 1")),
        (("--out", "a.mp4", "--rate", "-1"), ("--rate", "at least 1")),
        (("--out", "out", "--width", "0"), ("--width", "at least 1")),
        (("--out", "out", "--path", "orbitt"), ("--path orbitt", "orbit, spiral, views or test")),
        (("--out", "file/out"), ("file/out", "cannot be written")),
        (("--out", "file"), ("file", "cannot be written")),
        (("--out", "file/a.mp4"), ("file: cannot be written",)),
        ((), ("--out",)),
    ],
)
def test_a_bad_option_is_named_and_nothing_is_written(command: Run, run: Path, arguments: tuple, words: tuple):
    Path("file").write_text("mine")
    before = content(Path())
    command("render", run, *arguments, *(() if "--frames" in arguments else ("--frames", "1"))).refused(*words)
    assert content(Path()) == before
