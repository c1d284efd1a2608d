"""run_colmap as a command; tests/omniseg/sfm tests the parts that it is made of."""

from pathlib import Path

import pytest

from command_line import Run
from corner_photos import arc, write_photos
from omniseg.data.formats import read_scene
from omniseg.sfm import supervisor


@pytest.mark.slow
def test_photos_become_a_capture_and_a_report(command: Run):
    pytest.importorskip("pycolmap", minversion="4.0", reason="structure from motion: pip install -e '.[sfm]'")
    write_photos(Path("desk"), arc(6, 45))
    arguments = ("run_colmap", "desk", "--sfm.max-features", 700)
    done = command(*arguments)
    assert done.status == 0, done.err
    assert "scenes/desk: 6 of 6 images registered, mean reprojection error 0." in done.out
    assert "train it with: omniseg train --scene scenes/desk" in done.out
    assert len(read_scene("scenes/desk").views) == 6
    again = command(*arguments)
    assert again.status == 0
    assert "has poses already; omniseg run_colmap --overwrite makes them again" in again.out
    assert "6 of 6 images registered" in again.out


def test_wrong_input_is_refused_in_a_line(command: Run, monkeypatch):
    command("run_colmap", "desk").refused("desk: does not exist; give a folder of photos, or a video")
    write_photos(Path("desk"), arc(3))
    command("run_colmap", "desk", "--frames", 2).refused("--frames: expected at least 3, got 2")
    command("run_colmap", "desk", "--sfm.overlap", 0).refused("overlap: expected at least 1, got 0")
    monkeypatch.setattr(supervisor.importlib.util, "find_spec", lambda name: None)
    command("run_colmap", "desk").refused("pip install 'omniseg3d[sfm]'")
    assert not Path("scenes").exists()
