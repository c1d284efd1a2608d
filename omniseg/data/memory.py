"""Where a set lives that grows with the capture: on the device, on the host, or in a file that is paged in."""

from __future__ import annotations

import logging
import mmap
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omniseg.errors import InputError

_DEVICE_SHARE = 1 / 3
"""Of a device's free memory, what a set may take; the rest is for the training."""
_HOST_SHARE = 2 / 3

_log = logging.getLogger("omniseg")


def fits(n_bytes: int, device: torch.device | str, free: int | None = None) -> bool:
    """Whether a set of this size is moved to a device, or stays on the host and sends what a step needs.

    Args:
        n_bytes: of the set.
        device: a CPU takes any set: there is no other place.
        free: bytes of its memory that nothing uses; asked from the device unless given.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return True
    if free is None:
        free = torch.cuda.mem_get_info(device)[0]
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, to be reused
    if n_bytes <= _DEVICE_SHARE * free:
        return True
    _log.warning("%.1f GB of the capture stay in host memory: %s has %.1f GB free", n_bytes / 1e9, device, free / 1e9)
    return False


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (n, ...) of a set, wherever it lies, by their places (n,) int64; the result lies where `index` does."""
    taken = rows[index.to(rows.device)]
    if index.is_cuda and not rows.is_cuda:  # pinned, the copy need not be waited for
        return taken.pin_memory().to(index.device, non_blocking=True)
    return taken.to(index.device)


def host_array(n_bytes: int, free: int | None = None) -> np.ndarray:
    """Bytes (n_bytes,) uint8 on the host, of any value, paged from a temporary file where memory is short.

    What is never written takes neither memory nor disk.

    Args:
        n_bytes: at least 1.
        free: bytes of memory that are available; asked from the system unless given.
    Raises:
        InputError: neither memory nor disk has room.
    """
    free = available_memory() if free is None else free
    if n_bytes <= _HOST_SHARE * free:
        return np.empty(n_bytes, np.uint8)
    # /tmp is memory itself on many systems.
    folder = tempfile.gettempdir() if "TMPDIR" in os.environ or not Path("/var/tmp").is_dir() else "/var/tmp"
    size = f"{n_bytes / 1e9:.1f} GB of the capture leave no room in the {free / 1e9:.1f} GB of memory that are free"
    disk = shutil.disk_usage(folder).free
    if n_bytes > disk:
        raise InputError(
            f"{size}, nor the {disk / 1e9:.1f} GB of disk in {folder}; use a larger --downsample, or set TMPDIR"
        )
    _log.warning("%s: paged from a file in %s, which is slower; a larger --downsample avoids it", size, folder)
    with tempfile.TemporaryFile(dir=folder) as file:  # has no name; its space is given back with the array
        file.truncate(n_bytes)
        pages = mmap.mmap(file.fileno(), n_bytes)
    if hasattr(mmap, "MADV_RANDOM"):
        pages.madvise(mmap.MADV_RANDOM)  # rays come from anywhere: reading ahead would only evict others
    return np.frombuffer(pages, np.uint8)


def available_memory() -> int:
    """Bytes of memory that are available on the host or in its container; no bound where the system does not say."""
    try:
        meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available = 1024 * int(meminfo["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return sys.maxsize
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = int(stat["active_file"]) + int(stat["inactive_file"])  # files read before, which give way
        return max(min(available, limit - used + cached), 0)
    except (OSError, KeyError, ValueError):  # no such group, or "max": no limit
        return available
