"""Place sets that grow with the capture: on the device, in host memory, or in a memory-mapped file."""

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
"""Largest part of a device's free memory that one set may fill; training needs the rest."""
_HOST_SHARE = 2 / 3
"""Largest part of the host's available memory that one set may fill before it goes to a file."""

_log = logging.getLogger("omniseg")


def fits_on(device: torch.device | str, n_bytes: int, free: int | None = None) -> bool:
    """Tell whether a set should move to a device; if not, it stays on the host, which the log says.

    Args:
        device: a CPU takes any set: there is no other place.
        n_bytes: size of the set.
        free: unused bytes of the device; by default the device is asked.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return True
    if free is None:
        free = torch.cuda.mem_get_info(device)[0]
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's cache is free too
    if n_bytes <= _DEVICE_SHARE * free:
        return True
    _log.warning("%.1f GB of the capture stay in host memory: %s has %.1f GB free", n_bytes / 1e9, device, free / 1e9)
    return False


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Return the rows (n, ...) of a set on any device at `index` (n,) int64, on the device of `index`."""
    taken = rows[index.to(rows.device)]
    if index.is_cuda and not rows.is_cuda:  # copied from pinned memory, so that the host does not wait
        return taken.pin_memory().to(index.device, non_blocking=True)
    return taken.to(index.device)


def allocate_host(n_bytes: int, free: int | None = None) -> np.ndarray:
    """Allocate an uninitialised (n_bytes,) uint8 array, memory-mapped to a temporary file if memory is short.

    Bytes that are never written take neither memory nor disk.

    Args:
        n_bytes: at least 1.
        free: available bytes of memory; by default the system is asked.
    Raises:
        InputError: neither memory nor disk has room.
    """
    free = available_memory() if free is None else free
    if n_bytes <= _HOST_SHARE * free:
        return np.empty(n_bytes, np.uint8)
    # /tmp is memory itself on many systems.
    folder = tempfile.gettempdir() if "TMPDIR" in os.environ or not Path("/var/tmp").is_dir() else "/var/tmp"
    size = f"{n_bytes / 1e9:.1f} GB of the capture do not fit the {free / 1e9:.1f} GB of free memory"
    disk = shutil.disk_usage(folder).free
    if n_bytes > disk:
        raise InputError(
            f"{size}, nor the {disk / 1e9:.1f} GB of free disk in {folder}; "
            "use a larger --downsample, or set TMPDIR to a folder with room"
        )
    _log.warning("%s: they are in a file in %s, which is slower; a larger --downsample avoids it", size, folder)
    with tempfile.TemporaryFile(dir=folder) as file:  # has no name: its space is freed with the array
        file.truncate(n_bytes)
        pages = mmap.mmap(file.fileno(), n_bytes)
    if hasattr(mmap, "MADV_RANDOM"):
        pages.madvise(mmap.MADV_RANDOM)  # rays are random pixels: reading ahead would only evict others
    return np.frombuffer(pages, np.uint8)


def available_memory() -> int:
    """Return the available bytes of memory of the host or its container; `sys.maxsize` where that is unknown."""
    try:
        meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available = 1024 * int(meminfo["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return sys.maxsize
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = int(stat["active_file"]) + int(stat["inactive_file"])  # the file cache is given up on demand
        return max(min(available, limit - used + cached), 0)
    except (OSError, KeyError, ValueError):  # no such group, or "max": no limit
        return available
