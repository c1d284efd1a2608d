"""run_sam as a command, with each source of masks; tests/omniseg/masks tests the parts that it is made of."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from command_line import Run, content
from omniseg import devices
from omniseg.data.formats import read_scene
from omniseg.masks.hierarchy import load_hierarchy
from scene_files import HEIGHT, WIDTH, frames, orbit, write_colmap, write_images, write_json
from tiny_scene import write_ball


def colmap(root: Path) -> Path:
    write_colmap(root, orbit(4), names=["a.png", "deep/b.png", "c.jpg", "d.1.png"])
    return root / "images"


def replica(root: Path) -> Path:
    listed = [f"rgb/{i}.png" for i in range(4)]
    write_images(root, listed)
    content = {"aabb": [[-1, -1, -1], [1, 1, 1]], "fl_x": 20, "frames": frames(listed, orbit(4))}
    write_json(root / "transforms_train.json", content)
    return root / "rgb"


def synthetic(root: Path) -> Path:
    return write_ball(root, 3, 1) / "train"


def hierarchies(root: Path | str) -> list[Path | None]:
    return [view.hierarchy_path for view in read_scene(root).views]


@pytest.mark.parametrize("kind", [colmap, replica, synthetic])
@pytest.mark.parametrize("given", ["capture", "images"])
def test_scene_readers_find_the_masks_it_writes(command: Run, kind, given: str):
    images = kind(Path("capture"))
    assert hierarchies("capture") == [None] * 4
    done = command("run_sam", "capture" if given == "capture" else images)
    assert done.status == 0, done.err
    n = 3 if (kind, given) == (synthetic, "images") else 4
    assert f"{n} photos" in done.out
    assert f"{n} mask hierarchies made" in done.out
    found = [path for path in hierarchies("capture") if path is not None]
    assert len(found) == n
    for view in read_scene("capture").views:
        if view.hierarchy_path is not None:
            hierarchy = load_hierarchy(view.hierarchy_path)
            assert hierarchy.indices.shape == (view.camera.height, view.camera.width)
            assert Path(f"capture/masks/{view.name}.png").is_file()
            assert Path(f"capture/patches/{view.name}.png").is_file()


def test_segmenting_by_colour_is_the_default_and_is_announced(command: Run):
    write_images(Path("photos"), ["a.png", "b.png"])
    default = command("run_sam", "photos", "--out", "default")
    assert sum("felzenszwalb" in line for line in default.out.splitlines()) == 1
    chosen = command("run_sam", "photos", "--out", "chosen", "--segmenter", "felzenszwalb")
    assert "felzenszwalb" not in chosen.out
    assert content(Path("default")).keys() == content(Path("chosen")).keys()
    assert "sam/a.npz" in content(Path("default"))
    other = command("run_sam", "photos", "--out", "other", "--felzenszwalb.regions", "2", "--downsample", "2")
    assert other.status == 0, other.err
    assert load_hierarchy(Path("other/sam/a.npz")).indices.shape == (HEIGHT // 2, WIDTH // 2)


def test_finished_photos_are_kept_unless_overwrite_is_given(command: Run):
    colmap(Path("capture"))
    assert command("run_sam", "capture").status == 0
    before = content(Path("capture"))
    Path("capture/sam/a.npz").unlink()
    Path("capture/sam/deep/b.npz").write_bytes(b"half")
    done = command("run_sam", "capture")
    assert "2 are finished already; --overwrite" in done.out
    assert "2 mask hierarchies made" in done.out
    done = command("run_sam", "capture", "--overwrite")
    assert "finished" not in done.out
    assert "4 mask hierarchies made" in done.out
    after = content(Path("capture"))
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name.endswith(".png"))


def test_two_processes_share_the_photos(command: Run, monkeypatch: pytest.MonkeyPatch):
    write_images(Path("shots"), [f"{i}.png" for i in range(5)])
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        outcome = command("run_sam", "shots", "--out", f"out{rank}", "--segmenter", "felzenszwalb")
        assert outcome.status == 0, outcome.err
        done.append(outcome)
    assert "2 processes; this one does 3" in done[0].out
    assert (done[1].out, done[1].err) == ("", "")
    written = [{path.name for path in Path(f"out{rank}/sam").iterdir()} for rank in range(2)]
    assert [len(names) for names in written] == [3, 2]
    assert set().union(*written) == {f"{i}.npz" for i in range(5)}


def test_masks_of_a_folder_are_taken_and_checked(command: Run, caplog: pytest.LogCaptureFixture):
    colmap(Path("capture"))
    left = np.zeros((HEIGHT, WIDTH), np.uint8)
    left[:, : WIDTH // 4] = 255
    Path("mine/deep/b").mkdir(parents=True)
    cv2.imwrite("mine/deep/b/0.png", left)
    code = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH // 4, HEIGHT * WIDTH * 3 // 4]}
    write_json(Path("mine/a.json"), [{"segmentation": code}])
    done = command("run_sam", "capture", "--masks", "mine")
    assert done.status == 0, done.err
    assert "skipped 2 of 4 photos without masks" in caplog.text
    for name in ("a", "deep/b"):
        hierarchy = load_hierarchy(Path(f"capture/sam/{name}.npz"))
        np.testing.assert_array_equal(hierarchy.indices, left > 0)
    Path("mine/c.json").write_text(json.dumps([{"segmentation": {**code, "size": [HEIGHT, WIDTH + 9]}}]))
    command("run_sam", "capture", "--masks", "mine").refused("1 of 1 photos could not be done", "c.jpg")
    command("run_sam", "capture", "--masks", "nothing").refused("nothing: is not a folder")
    Path("other").mkdir()
    command("run_sam", "capture", "--masks", "other").refused("no masks for any of the 4 photos", "a.json", "a/*.png")


def test_a_photo_that_does_not_open_costs_no_other(command: Run, caplog: pytest.LogCaptureFixture):
    write_images(Path("photos"), ["a.png", "b.png", "c.png"])
    Path("photos/b.png").write_bytes(b"no photo")
    done = command("run_sam", "photos")
    done.refused("1 of 3 photos could not be done", "b.png")
    assert "skipped: photos/b.png: does not open" in caplog.text
    assert {path.name for path in Path("sam").iterdir()} == {"a.npz", "c.npz"}


@pytest.mark.slow
def test_segment_anything_with_random_weights_finds_masks(command: Run, tmp_path: Path, monkeypatch):
    """The real model but for its depth: one block of its twelve, without global attention."""
    build = pytest.importorskip("segment_anything.build_sam", reason="needs segment-anything: pip install -e '.[sam]'")
    monkeypatch.setitem(build.sam_model_registry, "vit_b", lambda: build._build_sam(768, 1, 12, []))
    torch.save(build.sam_model_registry["vit_b"]().state_dict(), tmp_path / "b.pth")
    write_images(Path("photos"), ["a.png"], width=60, height=40)
    few = ["--sam.points-per-side=2", "--sam.crop-layers=0", "--sam.iou=0", "--sam.stability=0", "--sam.min-region=0"]
    done = command("run_sam", "photos", "--checkpoint", "b.pth", "--model", "vit_b", "--memory", "0.2", *few)
    assert done.status == 0, done.err
    hierarchy = load_hierarchy(Path("sam/a.npz"))
    assert hierarchy.indices.shape == (40, 60)
    assert hierarchy.labelled.any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("IMAGES",)),
        (("nowhere",), ("nowhere: does not exist",)),
        (("empty",), ("empty: holds no photos",)),
        (("photos", "--checkpoint", "none.pth"), ("none.pth: does not exist",)),
        (("photos", "--checkpoint", "photos/a.png"), ("photos/a.png", "no PyTorch checkpoint")),
        (("photos", "--checkpoint", "w.pth"), ("w.pth: is no checkpoint of segment-anything",)),
        (("photos", "--model", "vit_h"), ("--checkpoint",)),
        (("photos", "--masks", "empty", "--segmenter", "felzenszwalb"), ("--masks", "--segmenter", "one of them")),
        (("photos", "--downsample", "0.5"), ("--downsample", "at least 1")),
        (("photos", "--downsample", "nan"), ("--downsample", "at least 1")),
        (("photos", "--memory", "0"), ("--memory",)),
        (("photos", "--sam.points-per-side", "0"), ("points_per_side",)),
        (("photos", "--felzenszwalb.regions", "0"), ("regions",)),
        (("photos", "--out", "photos/a.png"), ("photos/a.png", "cannot be written")),
    ],
)
def test_a_bad_option_is_named_and_nothing_is_written(command: Run, arguments: tuple, words: tuple):
    if "--checkpoint" in arguments:
        pytest.importorskip("segment_anything", reason="needs segment-anything: pip install -e '.[sam]'")
    write_images(Path("photos"), ["a.png"])
    Path("empty").mkdir()
    torch.save({"weight": torch.zeros(1)}, "w.pth")
    before = content(Path())
    command("run_sam", *arguments).refused(*words)
    assert content(Path()) == before


def test_a_missing_gpu_is_an_error_that_says_what_to_do(command: Run, monkeypatch: pytest.MonkeyPatch):
    write_images(Path("photos"), ["a.png"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = command("run_sam", "photos", "--checkpoint", "b.pth", "--device", "cuda")
    done.refused("--device cuda", "use cpu")
    monkeypatch.setattr(devices.launch, "current_arch", lambda: None)  # else auto is their device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "3")
    done = command("run_sam", "photos", "--checkpoint", "b.pth", "--device", "auto")
    done.refused("has no GPU of its own", "no more than 2")


def test_help_names_the_sources_of_masks(command: Run):
    done = command("run_sam", "--help")
    assert done.status == 0
    for word in ("IMAGES", "--checkpoint", "--masks", "--segmenter", "--overwrite", "torchrun", "--sam.iou"):
        assert word in done.out
