"""Run folders: what goes in comes out, and nothing foreign gets in."""

import ast
import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from helpers import ROOT
from omniseg import run_folder
from omniseg.data.depth_maps import DepthMaps
from omniseg.data.photo_depth import PhotoDepth
from omniseg.errors import InputError
from omniseg.run_folder import (
    CONFIG,
    PHOTO_DEPTH,
    RADIANCE,
    load_model,
    load_photo_depth,
    save_photo_depth,
    save_radiance,
)
from tiny_scene import ball_config, ball_model


@pytest.fixture
def run(tmp_path: Path, device) -> Path:
    save_radiance(tmp_path / "run", ball_model(device))
    return tmp_path / "run"


@pytest.fixture
def depth() -> PhotoDepth:
    sizes, intrinsics = torch.tensor([[3, 2], [0, 0]]), torch.tensor([[2.0, 2, 1.5, 1], [1, 1, 1, 1]])
    maps = DepthMaps(("a", "b/c"), torch.arange(6.0).half(), sizes, intrinsics)
    return PhotoDepth(maps, coverage=0.625, look_coverage=0.5, texture=0.75, near=0.25, seconds=1.5, from_points=0.125)


def test_depth_from_the_photos_survives(tmp_path: Path, depth: PhotoDepth):
    assert load_photo_depth(tmp_path) is None
    save_photo_depth(tmp_path, depth)
    loaded = load_photo_depth(tmp_path)
    assert loaded is not None
    for name in ("coverage", "look_coverage", "texture", "near", "seconds", "from_points"):
        assert getattr(loaded, name) == getattr(depth, name)
    assert loaded.maps.names == depth.maps.names
    for name in ("distances", "sizes", "intrinsics"):
        assert torch.equal(getattr(loaded.maps, name), getattr(depth.maps, name))


@pytest.mark.parametrize("spoil", ["names", "distances", "near", "bytes"])
def test_foreign_depth_from_the_photos_is_refused(tmp_path: Path, depth: PhotoDepth, spoil: str):
    save_photo_depth(tmp_path, depth)
    path = tmp_path / PHOTO_DEPTH
    tensors, metadata = run_folder.read_tensors(path, torch.device("cpu"))
    if spoil == "names":
        metadata["names"] = ["a", "../b"]
    elif spoil == "distances":
        tensors["distances"] = tensors["distances"][:4]
    elif spoil == "near":
        del metadata["near"]
    run_folder.write_tensors(path, tensors, metadata)
    if spoil == "bytes":
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=PHOTO_DEPTH):
        load_photo_depth(tmp_path)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_model_survives(run: Path, device):
    saved, loaded = ball_model(device), load_model(run, device)
    assert sorted(content(run)) == [CONFIG, RADIANCE]
    assert loaded.config == saved.config
    assert loaded.normalisation.to_dict() == saved.normalisation.to_dict()
    assert (loaded.viewpoints.names, loaded.viewpoints.held_out) == (
        saved.viewpoints.names,
        (False, True, False),
    )
    assert loaded.seconds == 12.5
    assert repr(loaded) == f"Model(3 views, no features, {device.type})"
    assert repr(loaded.viewpoints) == "Viewpoints(3 views, 1 held out)"
    for name in ("c2w", "intrinsics", "distortion", "model", "size"):
        assert torch.equal(getattr(loaded.viewpoints.cameras, name), getattr(saved.viewpoints.cameras, name))
    looks = [model.renderer.render_image(model.viewpoints.cameras, 0) for model in (saved, loaded)]
    assert_close(looks[0].rgb, looks[1].rgb)
    assert looks[0].opacity.max() > 0.01


def rewrite(run: Path, change) -> None:
    """Alter tensors and metadata of the radiance file."""
    path = run / RADIANCE
    tensors = load_file(path)
    header = path.read_bytes()
    size = struct.unpack("<Q", header[:8])[0]
    metadata = {k: json.loads(v) for k, v in json.loads(header[8 : 8 + size])["__metadata__"].items()}
    change(tensors, metadata)
    save_file(tensors, path, metadata={k: json.dumps(v) for k, v in metadata.items()})


class Owned:
    """Does something when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("OWNED"),))


def refuses(run: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_model(run, torch.device("cpu"))
    assert str(run) in str(caught.value)
    assert str(caught.value).count("\n") <= 1


def test_nothing_is_unpickled(run: Path, monkeypatch):
    monkeypatch.chdir(run.parent)
    (run / RADIANCE).write_bytes(pickle.dumps(Owned()))
    refuses(run, "damaged or not a checkpoint")
    torch.save({"field.table": Owned()}, run / RADIANCE)
    refuses(run, "damaged or not a checkpoint")
    assert not Path("OWNED").exists()
    pickle.loads(pickle.dumps(Owned()))
    assert Path("OWNED").exists(), "the bait itself works"


@pytest.mark.parametrize("size", [0, 5, 8, 100, 2000, -1])
def test_truncated_file(run: Path, size: int):
    (run / RADIANCE).write_bytes((run / RADIANCE).read_bytes()[:size])
    refuses(run, r"radiance\.safetensors: damaged or not a checkpoint")


def test_foreign_files(run: Path):
    save_file({"weight": torch.zeros(3)}, run / RADIANCE)
    refuses(run, r"radiance\.safetensors")
    (run / RADIANCE).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    refuses(run, "damaged or not a checkpoint")
    header = ("[" * 3000).encode()
    (run / RADIANCE).write_bytes(struct.pack("<Q", len(header)) + header)
    refuses(run, "damaged or not a checkpoint")
    (run / RADIANCE).unlink()
    (run / RADIANCE).mkdir()
    refuses(run, r"radiance\.safetensors")


def test_missing_pieces(run: Path, tmp_path: Path):
    refuses(tmp_path / "nothing", "no such run folder; train one")
    (run / RADIANCE).unlink()
    refuses(run, r"radiance\.safetensors: no such file")
    (run / CONFIG).unlink()
    refuses(run, r"config\.yaml: cannot be read")


def test_shapes_of_another_configuration(run: Path, device):
    config = ball_config()
    replace(config, radiance=replace(config.radiance, hidden=8)).save(run / CONFIG)
    refuses(run, "does not fit the configuration beside it")
    replace(config, marching=replace(config.marching, resolution=32)).save(run / CONFIG)
    refuses(run, "does not fit the configuration beside it")


@pytest.mark.parametrize(
    "change",
    [
        lambda t, m: t.pop("field.table"),
        lambda t, m: t.update({"field.extra": torch.zeros(1)}),
        lambda t, m: t.pop("grid.bits"),
        lambda t, m: t.pop("cameras.c2w"),
        lambda t, m: t.update({"cameras.c2w": torch.zeros(2, 3, 4)}),
        lambda t, m: t["cameras.c2w"].fill_(float("nan")),
        lambda t, m: t["cameras.intrinsics"].fill_(float("inf")),
        lambda t, m: t["cameras.size"].zero_(),
        lambda t, m: t["cameras.model"].fill_(77),
        lambda t, m: m.pop("normalisation"),
        lambda t, m: m["normalisation"].update(scale="x"),
        lambda t, m: m["normalisation"].update(scale=-1),
        lambda t, m: m["normalisation"].update(rotation=[[1]]),
        lambda t, m: m.update(normalisation=3),
        lambda t, m: m.update(seconds=[]),
        lambda t, m: m.update(names=["a"]),
        lambda t, m: m.update(names=5),
        lambda t, m: m.update(names=["a", "b", 3]),
        lambda t, m: m.update(held_out=[]),
    ],
)
def test_damaged_content(run: Path, change):
    rewrite(run, change)
    refuses(run, r"radiance\.safetensors: (not a radiance field|does not fit)")


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/elsewhere", "a/../../b", "", ".", "a\0b"])
def test_names_cannot_lead_out_of_a_folder(run: Path, name: str):
    """A stranger's run decides where render.py writes its pictures."""
    rewrite(run, lambda tensors, metadata: metadata.update(names=["a", name, "c"]))
    refuses(run, "names: expected paths below a folder")


def test_metadata_that_is_no_json(run: Path):
    save_file(load_file(run / RADIANCE), run / RADIANCE, metadata={"names": "{"})
    refuses(run, "damaged or not a checkpoint")
    save_file(load_file(run / RADIANCE), run / RADIANCE, metadata={"names": "[" * 100_000})
    refuses(run, "damaged or not a checkpoint")


def test_a_full_disk_leaves_both_files_of_the_earlier_run(run: Path, device, monkeypatch):
    before = content(run)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "save_file", full)
    other = ball_model(device, seed=1)
    other = replace(other, config=replace(other.config, seed=5))
    with pytest.raises(InputError, match=r"radiance\.safetensors: cannot be written \(No space left"):
        save_radiance(run, other)
    assert content(run) == before


def test_a_failure_of_the_library_is_told_in_words(run: Path, device, monkeypatch):
    def broken(*args, **kwargs):
        raise run_folder.SafetensorError("I/O error: No space left on device (os error 28)")

    before = content(run)
    monkeypatch.setattr(run_folder, "save_file", broken)
    with pytest.raises(InputError, match="No space left"):
        save_radiance(run, ball_model(device, seed=1))
    assert content(run) == before


def test_no_other_module_spells_the_name_of_a_file_of_a_run_folder():
    names = {value for name, value in vars(run_folder).items() if name.isupper() and isinstance(value, str)}
    assert len(names) > 10
    for path in (ROOT / "omniseg").rglob("*.py"):
        if path.name != "run_folder.py":
            tree = ast.parse(path.read_text())
            spelled = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & names
            assert not spelled, f"{path.relative_to(ROOT)}: import the names of {spelled} from omniseg.run_folder"
