"""Bad input gives an error of one or two clear lines, an exit status other than 0 and no half-written file."""

import errno
import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from command_line import Outcome, Run, content
from helpers import ROOT, run_python
from scene_files import orbit, write_colmap, write_image, write_json, write_llff, write_transforms
from tiny_scene import SMALL


@pytest.fixture
def train(command: Run):
    """Train with a bad scene or option, and assert that nothing is written."""

    def attempt(*arguments: object) -> Outcome:
        done = command("train", "--run", "new", *arguments, *SMALL)
        assert not Path("new").exists(), "something was written"
        return done

    return attempt


# The scene.


def test_a_folder_without_a_scene_is_named_with_what_was_looked_for(train):
    train("--scene", "nowhere").refused("nowhere: does not exist", "give the folder of a capture")
    Path("empty").mkdir()
    train("--scene", "empty").refused("empty: no scene found (the folder is empty)", "transforms.json", "sparse/0")
    Path("photos").mkdir()
    write_image(Path("photos/a.png"))
    train("--scene", "photos").refused("photos: these are photos without poses", "Looked for")
    train("--scene", "photos/a.png").refused("photos/a.png: is a file", "folder of a capture")
    train("--scene", "").refused("error")


def broken_photo(path: Path, how: str) -> None:
    data = path.read_bytes()
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    match how:
        case "missing":
            path.unlink()
            path.mkdir()
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "empty":
            path.write_bytes(b"")
        case "foreign":
            path.write_bytes(b"hello" * 100)
        case "larger":
            cv2.imwrite(str(path), cv2.resize(pixels, (60, 24)))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("how", ["truncated", "empty", "foreign"])
def test_a_photo_that_does_not_open_is_named(train, scene: Path, how: str, split: str):
    """Test photos too are opened before the training, not after it."""
    path = sorted((scene / split).iterdir())[-1]
    broken_photo(path, how)
    train("--scene", scene).refused(path, "does not open as an image", "again")


def test_a_photo_of_another_size_than_its_camera_is_named(train):
    write_colmap(Path("scene"), orbit(5))
    write_image(Path("scene/images/0003.png"), width=40, height=16)
    train("--scene", "scene").refused("scene/images/0003.png", "is 40 x 16", "camera is 24 x 16")


def test_poses_without_images_are_refused(train):
    names = write_colmap(Path("scene"), orbit(5), images=False)
    train("--scene", "scene").refused("scene: has poses in scene/sparse/0, but no folder `images`")
    write_image(Path("scene/images/other.png"))
    train("--scene", "scene").refused(f"lists {names[0]}", "holds other.png (5 and 1 images)", "not certain")
    write_transforms(Path("json"), orbit(5))
    shutil.rmtree("json/images")
    train("--scene", "json").refused("transforms.json", "lists 5 images, but none exists", "images/0000.png")


def test_poses_that_are_not_numbers_are_refused(train, scene: Path):
    path = scene / "transforms_train.json"
    meta = json.loads(path.read_text())
    meta["frames"][3]["transform_matrix"][1][3] = float("nan")
    write_json(path, meta)
    train("--scene", scene).refused(path, meta["frames"][3]["file_path"], "NaN", "remove the view")
    poses = orbit(4)
    poses[2, 0, 3] = np.nan
    write_colmap(Path("colmap"), poses)
    train("--scene", "colmap").refused("images.bin", "0002.png")


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
@pytest.mark.parametrize("content", [b"", b"\x01", b"hello, I am no model at all" * 5, None])
def test_a_damaged_colmap_file_is_named(train, name: str, content: bytes | None):
    write_colmap(Path("scene"), orbit(5), points=orbit(9)[:, :, 3])
    path = Path("scene/sparse/0") / name
    path.write_bytes(path.read_bytes()[:-7] if content is None else content)
    train("--scene", "scene").refused(name)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"frames": []}', '{"frames": [{}]}', "\x00"])
def test_a_damaged_json_file_is_named(train, scene: Path, text: str):
    (scene / "transforms_train.json").write_text(text)
    train("--scene", scene).refused("transforms_train.json")


def test_a_damaged_llff_file_is_named(train):
    Path("scene").mkdir()
    write_llff(Path("scene"), orbit(5))
    path = Path("scene/poses_bounds.npy")
    path.write_bytes(path.read_bytes()[:100])
    train("--scene", "scene").refused("poses_bounds.npy")
    path.write_bytes(pickle.dumps({"a": 1}))
    train("--scene", "scene").refused("poses_bounds.npy")


def test_a_scene_without_training_views_is_refused(train, scene: Path):
    (scene / "transforms_train.json").unlink()
    train("--scene", scene).refused(scene)


# Options.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus", "3"], ["--bogus"]),
        (["--training.lr", "-1"], ["lr: expected > 0, got -1"]),
        (["--training.lr", "fast"], ["--training.lr", "fast"]),
        (["--training.background", "green"], ["green", "random"]),
        (["--downsample", "0.5"], ["downsample: expected a factor >= 1, got 0.5"]),
        (["--downsample", "0"], ["downsample: expected a factor >= 1"]),
        (["--downsample", "nan"], ["downsample: expected a factor >= 1"]),
        (["--seconds", "-3"], ["seconds: expected >= 0, got -3"]),
        (["--seconds", "inf"], ["seconds"]),
        (["--test-every", "1"], ["test_every: expected 0, or >= 2, got 1"]),
        (["--seed", "-1"], ["seed"]),
        (["--marching.resolution", "48"], ["resolution: expected 16, 32"]),
        (["--radiance.encoding.levels", "0"], ["levels: expected >= 1"]),
        (["--device", "tpu"], ["tpu", "cpu"]),
        (["--preset", "indoor"], ["indoor", "unbounded"]),
        (["stray"], ["stray"]),
    ],
)
def test_a_bad_option_is_named_and_nothing_is_written(
    command: Run, scene: Path, arguments: list[str], words: list[str]
):
    done = command("train", "--scene", scene, "--run", "new", *arguments)
    done.refused(*words)
    assert done.status == 2
    assert done.err.count("\n") <= 12
    assert not Path("new").exists()


def test_photos_shrunk_to_two_pixels_are_refused(command: Run, scene: Path):
    done = command("train", "--scene", scene, "--run", "new", "--downsample", "10", *SMALL)
    done.refused("2 x 2 pixels", "--downsample")


# The run folder.


def test_a_file_in_place_of_the_run_folder_is_kept(command: Run, scene: Path):
    Path("mine").write_text("mine")
    before = content(Path())
    for run in ("mine", "mine/deeper"):
        command("train", "--scene", scene, "--run", run, *SMALL).refused(run, "cannot be written")
    assert content(Path()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop the superuser")
def test_a_run_folder_without_permission_is_named(command: Run, scene: Path):
    Path("locked").mkdir(mode=0o500)
    command("train", "--scene", scene, "--run", "locked/run", *SMALL).refused("locked/run", "Permission denied")


def mount(folder: Path, *options: str) -> None:
    folder.mkdir(exist_ok=True)
    try:
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"needs a file system of its own: {error}")
    if done.returncode:
        pytest.skip(f"needs a file system of its own: {done.stderr.strip()}")


def test_a_read_only_run_folder_stays_as_it_is(command: Run, run: Path, tmp_path: Path):
    before = content(run)
    disk = tmp_path / "disk"
    mount(disk, "-o", "bind", str(run))
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        command("train", "--run", disk, "--resume", "--training.steps", "9").refused(disk, "Read-only file system")
        command("evaluate", disk).refused(disk, "Read-only file system")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert content(run) == before


@pytest.mark.parametrize("room", [0, 8, 40])
def test_a_full_disk_is_named_and_keeps_no_half_written_file(
    command: Run, scene: Path, run: Path, tmp_path: Path, room: int
):
    """There is room for nothing, for the configuration only, or for one of the two checkpoints only (KiB)."""
    disk = tmp_path / "disk"
    mount(disk, "-t", "tmpfs", "-o", "size=100k", "tmpfs")
    try:
        (disk / "other").write_bytes(bytes(1024 * (100 - room)))
        done = command("train", "--scene", scene, "--run", disk / "run", *SMALL)
        done.refused(disk / "run", "No space left on device", "room")
        assert set(content(disk)) <= {"other", "run/config.yaml", "run/radiance.safetensors"}
        (disk / "other").unlink()
        shutil.rmtree(disk / "run", ignore_errors=True)
        (disk / "other").write_bytes(bytes(1024 * 100))
        before = content(disk)
        for out in (disk / "a.mp4", disk / "pictures"):
            command("render", run, "--out", out, "--frames", "2").refused(out, "cannot be written")
        assert content(disk) == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_while_training_keeps_the_last_complete_run(command: Run, run: Path, monkeypatch):
    """The checkpoint saved last is complete, and nothing lies half-written beside it."""
    before = content(run)
    replace = Path.replace
    calls = []

    def full(self: Path, target: Path):
        calls.append(target)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    command("train", "--run", run, "--resume", "--training.steps", "9").refused(run, "No space left")
    monkeypatch.undo()
    after = content(run)
    assert not [name for name in after.keys() - before.keys() if not name.startswith("log/")]
    assert command("render", run, "--out", run.parent / "pictures", "--frames", "1").status == 0
    assert command("train", "--run", run, "--resume", "--training.steps", "9").status == 0


# Results.


@pytest.mark.parametrize("name", ["evaluate", "render", "train"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: shutil.rmtree(run), ["run"]),
        (lambda run: (run / "config.yaml").unlink(), ["config.yaml", "cannot be read"]),
        (lambda run: (run / "config.yaml").write_text("a: ["), ["config.yaml", "is not a configuration"]),
        (lambda run: newer(run), ["config.yaml", "training.foresight"]),
        (lambda run: cut(run, "radiance.safetensors"), ["radiance.safetensors", "damaged"]),
        (lambda run: pickled(run, "radiance.safetensors"), ["radiance.safetensors", "damaged"]),
        (lambda run: other_shape(run), ["radiance.safetensors"]),
    ],
)
def test_a_damaged_run_is_refused_and_stays_as_it_is(command: Run, run: Path, name: str, damage, words: list[str]):
    damage(run)
    if name == "train" and run.exists():
        for path in (run / "radiance.safetensors", run / "resume" / "radiance.safetensors"):
            if words[0] == "radiance.safetensors" and path.parent == run:
                shutil.copy(path, run / "resume" / "radiance.safetensors")
    before = content(run) if run.exists() else None
    arguments = {"evaluate": [run], "render": [run, "--out", "out"], "train": ["--run", run, "--resume"]}
    command(name, *arguments[name]).refused(*words)
    assert not Path("out").exists()
    assert (content(run) if run.exists() else None) == before


def newer(run: Path) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["training"]["foresight"] = True
    (run / "config.yaml").write_text(yaml.safe_dump(values))


def cut(run: Path, name: str) -> None:
    (run / name).write_bytes((run / name).read_bytes()[:-100])


def pickled(run: Path, name: str) -> None:
    (run / name).write_bytes(pickle.dumps({"field.table": [1, 2, 3]}))


def other_shape(run: Path) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["radiance"]["hidden"] = 16
    (run / "config.yaml").write_text(yaml.safe_dump(values))


def test_a_scene_is_no_run_and_a_run_is_no_scene(command: Run, run: Path, scene: Path):
    command("evaluate", scene).refused("config.yaml", "give the folder of a run")
    command("render", scene, "--out", "out").refused("config.yaml")
    command("train", "--scene", run, "--run", "new").refused(run, "no scene found")
    assert not Path("new").exists()


def test_a_view_name_cannot_lead_out_of_the_output_folder(command: Run, run: Path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = run / "radiance.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    names = json.loads(metadata["names"])
    metadata["names"] = json.dumps(["../../owned", *names[1:]])
    save_file(load_file(path), path, metadata=metadata)
    command("render", run, "--out", "a/b/c", "--path", "views").refused(path, "names")
    assert not list(Path().rglob("owned*"))


# Help, and the exit statuses of real processes.


@pytest.mark.parametrize("name", ["apps/train.py", "apps/evaluate.py", "apps/render.py", "data_tools/make_sample.py"])
def test_help_shows_the_options_and_real_defaults(command: Run, name: str):
    done = command(Path(name).stem, "--help")
    assert done.status == 0
    assert done.err == ""
    for word in ("usage:", "--device", "--help"):
        assert word in done.out
    assert "(default: <" not in done.out


@pytest.mark.slow
def test_a_real_process_exits_with_0_1_or_2(tmp_path: Path):
    train = str(ROOT / "apps" / "train.py")
    for arguments, status in ((["--scene", str(tmp_path / "nowhere")], 1), (["--bogus"], 2), (["--help"], 0)):
        done = run_python(train, *arguments)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        assert (done.stdout == "") == (status != 0)
    assert not list(tmp_path.iterdir())
