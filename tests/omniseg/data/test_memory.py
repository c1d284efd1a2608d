"""Where large sets live, and that they give the same wherever it is."""

import logging
import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch

from omniseg.data import memory as memory_module
from omniseg.data.memory import allocate_host, available_memory, fits_on, gather_rows
from omniseg.data.rays import RaySampler
from omniseg.errors import InputError
from omniseg.evaluation.views import photo_and_background
from omniseg.masks.patches import PatchSampler
from tiny_scene import ball_images, ball_patches

Disk = namedtuple("Disk", "free")


def test_a_third_of_the_free_memory_is_taken(caplog):
    with caplog.at_level(logging.WARNING, "omniseg"):
        assert fits_on("cuda:0", 2 * 10**9, free=6 * 10**9)
        assert not caplog.text
        assert not fits_on("cuda:0", 3 * 10**9, free=6 * 10**9)
    assert "3.0 GB of the capture stay in host memory: cuda:0 has 6.0 GB free" in caplog.text
    assert fits_on("cpu", 10**15), "there is no other place"


def test_torchs_cache_counts_as_free(monkeypatch):
    for name, value in (("mem_get_info", (10, 0)), ("memory_reserved", 80), ("memory_allocated", 60)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert fits_on("cuda:0", 10)
    assert not fits_on("cuda:0", 11)


@pytest.mark.parametrize(("free", "home"), [(0, "cpu"), (10**9, "meta")])
def test_sets_move_as_far_as_there_is_room(free, home):
    images, patches = ball_images(depth=True).to("meta", free), ball_patches().to("meta", free)
    assert images.device.type == patches.device.type == images.offsets.device.type == "meta"
    assert patches.offsets.device.type == "meta"
    assert images.depths is not None
    assert images.pixels.device.type == images.depths.device.type == home
    assert {each.device.type for view in patches.views for each in (view.ends, view.shifts, view.correlation)} == {home}


def test_a_set_counts_its_depths():
    n_pixels = len(ball_images().pixels)
    free = 3 * 4 * n_pixels
    assert ball_images().to("meta", free).pixels.is_meta
    assert not ball_images(depth=True).to("meta", free).pixels.is_meta


def test_rays_of_a_set_on_the_host(device):
    """On a CPU this is the same place; with --arch cuda pixels travel."""
    there, here = ball_images(depth=True).to(device), ball_images(depth=True).to(device, free=0)
    assert here.pixels.device.type == "cpu"
    batches = [RaySampler(images, torch.Generator(device).manual_seed(3)).sample(500) for images in (there, here)]
    for name, value in vars(batches[0]).items():
        assert torch.equal(getattr(batches[1], name), value), name
        assert value.device.type == device.type, name
    photos = [photo_and_background(images, 1)[0] for images in (there, here)]
    assert torch.equal(*photos)
    assert photos[1].device.type == device.type


def test_patches_of_a_set_on_the_host(device):
    sets = ball_patches().to(device), ball_patches().to(device, free=0)
    assert sets[1].views[0].ends.device.type == "cpu"
    batches = [PatchSampler(patches, torch.Generator(device).manual_seed(3)).sample(1, 100) for patches in sets]
    for name in ("pixels", "patches", "correlation"):
        value = getattr(batches[1], name)
        assert torch.equal(getattr(batches[0], name), value), name
        assert value.device.type == device.type, name


def test_gather_rows(device):
    rows, index = torch.arange(12).view(4, 3), torch.tensor([3, 0, 3], device=device)
    for stored in (rows, rows.to(device)):
        taken = gather_rows(stored, index)
        assert taken.device.type == device.type
        assert taken.tolist() == [[9, 10, 11], [0, 1, 2], [9, 10, 11]]


def test_memory_that_is_short_is_replaced_by_a_file(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(memory_module.tempfile, "tempdir", None)
    with caplog.at_level(logging.WARNING, "omniseg"):
        array = allocate_host(10_000, free=20_000)
        assert not caplog.text
        paged = allocate_host(10_000, free=12_000)
    assert f"they are in a file in {tmp_path}" in caplog.text
    assert paged.base is not None, "the pages of the file"
    for each in (array, paged):
        assert each.shape == (10_000,)
        assert each.dtype == np.uint8
        each[:] = np.arange(10_000) % 251
        assert torch.from_numpy(each)[[0, 5000, 9999]].tolist() == [0, 5000 % 251, 9999 % 251]
    assert not list(tmp_path.iterdir()), "the file has no name, so that a kill leaves nothing behind"


def test_neither_memory_nor_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(3 * 10**9))
    with pytest.raises(
        InputError, match=r"4\.0 GB of the capture do not fit the 1\.0 GB.*3\.0 GB of free disk.*downsample"
    ):
        allocate_host(4 * 10**9, free=10**9)


def test_available_memory(monkeypatch):
    files = {
        "/proc/meminfo": "MemTotal:  9000 kB\nMemAvailable:    5000 kB\n",
        "/sys/fs/cgroup/memory.max": "max\n",
        "/sys/fs/cgroup/memory.current": "1000\n",
        "/sys/fs/cgroup/memory.stat": "anon 300\nactive_file 200\ninactive_file 400\n",
    }

    def read(path):
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(memory_module.Path, "read_text", read)
    assert available_memory() == 5000 * 1024
    files["/sys/fs/cgroup/memory.max"] = "4000\n"
    assert available_memory() == 3600
    del files["/sys/fs/cgroup/memory.max"]
    assert available_memory() == 5000 * 1024
    files.clear()
    assert available_memory() > 10**15
