"""Write files atomically: a reader never sees half of one."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from omniseg.errors import InputError


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, then move the result into place.

    If anything fails, `path` stays as it was and no other file is left behind.

    Raises:
        InputError: the folder cannot be written or the disk is full.
    """
    temporary: Path | None = None
    try:
        temporary = _temporary_file(path)
        write(temporary)
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Check that files can be written into a folder, which may not exist yet: before work whose result goes there.

    Raises:
        InputError: the folder cannot be made or written.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{folder}: cannot be written: {existing} is a file; choose a writable folder")
    try:
        _temporary_file(existing / "check").unlink()
    except OSError as error:
        raise _cannot_be_written(folder, error) from error


def _temporary_file(path: Path) -> Path:
    """Make an empty file beside `path`, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: image libraries choose the format by it.
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


def _cannot_be_written(path: Path, error: OSError) -> InputError:
    reason = error.strerror or error
    return InputError(f"{path}: cannot be written ({reason}); choose a writable folder with room")


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
