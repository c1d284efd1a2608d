"""make_sample as a command; tests/data_tools/sample_scenes tests what it renders."""

from pathlib import Path

import pytest

from command_line import Run, content
from omniseg.data.formats import read_scene

TINY = ("--views", "2", "--test-views", "1", "--width", "16", "--height", "12")


def test_makes_a_scene_and_asks_before_it_replaces_it(command: Run):
    done = command("make_sample", "my room", *TINY)
    assert done.status == 0, done.err
    assert "2 train and 1 test views in my room" in done.out
    assert [view.split for view in read_scene("my room").views].count("test") == 1
    before = content(Path("my room"))
    command("make_sample", "my room", *TINY).refused("my room", "--overwrite")
    assert content(Path("my room")) == before


def test_depth_is_left_out_and_points_make_a_colmap_capture(command: Run):
    few = (*TINY, "--points", "20", "--views", "7", "--test-views", "1")
    done = command("make_sample", "bare", *few, "--depth", "false")
    assert done.status == 0, done.err
    assert "7 train and 1 test views in bare" in done.out
    assert read_scene("bare").format == "colmap"
    assert not list(Path("bare").glob("*depth"))
    command("make_sample", "deep", *few)
    assert len(list(Path("deep/true_depth").iterdir())) == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("out", "--views", "0"), ("views", "at least 1")),
        (("out", "--width", "-5"), ("width", "at least")),
        (("out", "--seed", "-1"), ("seed", "at least 0")),
        (("out", "--points", "-1"), ("points", "at least 0")),
        (("out", "--scene", "yard", "--views", "14", "--test-views", "3"), ("test_views", "every 8th", "2 beside 14")),
        (("out", "--scene", "kitchen"), ("kitchen", "tabletop")),
        (("mine", *TINY), ("mine", "exists and is not a sample scene")),
        (("mine/file", *TINY), ("mine/file", "exists and is not a sample scene")),
        (("mine/file/out", *TINY), ("mine/file/out", "cannot be written")),
        ((), ("OUT",)),
    ],
)
def test_bad_options(command: Run, arguments: tuple, words: tuple):
    Path("mine").mkdir()
    Path("mine/file").write_text("")
    before = content(Path())
    command("make_sample", *arguments).refused(*words)
    assert content(Path()) == before
