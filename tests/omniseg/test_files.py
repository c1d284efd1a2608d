"""Whatever goes wrong while writing, the file is either what it was or complete."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from omniseg.errors import InputError
from omniseg.files import require_writable, write_atomic


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_writes_and_replaces(tmp_path: Path):
    path = tmp_path / "new folder" / "ähm.txt"
    for text in ("one", "two"):
        write_atomic(path, lambda temporary, text=text: temporary.write_text(text))
        assert content(tmp_path) == {"new folder/ähm.txt": text.encode()}


def test_the_temporary_file_keeps_folder_and_suffix(tmp_path: Path):
    seen = []
    write_atomic(tmp_path / "a.png", lambda temporary: seen.append(temporary))
    assert (seen[0].parent, seen[0].suffix) == (tmp_path, ".png")


def test_rights_follow_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", lambda temporary: temporary.write_text("x"))
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit, InputError])
def test_a_failing_writer_changes_nothing(tmp_path: Path, error: type[BaseException]):
    (tmp_path / "a").write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise error("no")

    with pytest.raises(error):
        write_atomic(tmp_path / "a", write)
    assert content(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("where", ["write", "fsync", "replace", "mkstemp"])
def test_system_errors_name_the_file_and_what_to_do(tmp_path: Path, monkeypatch, number: int, where: str):
    path = tmp_path / "a"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    if where == "fsync":
        monkeypatch.setattr("omniseg.files.os.fsync", fail)
    elif where == "mkstemp":
        monkeypatch.setattr("omniseg.files.tempfile.mkstemp", fail)
    elif where == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError) as caught:
        write_atomic(path, fail if where == "write" else lambda temporary: temporary.write_text("new"))
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be written ({os.strerror(number)})")
    assert "choose a writable folder" in message
    assert content(tmp_path) == {"a": b"old"}


def test_a_folder_is_checked_and_left_as_it_was(tmp_path: Path):
    require_writable(tmp_path / "deep" / "folder")
    require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: cannot be written"):
        require_writable(tmp_path / "file")
    with pytest.raises(InputError, match="folder: cannot be written"):
        require_writable(tmp_path / "file" / "folder")
    assert content(tmp_path) == {"file": b"mine"}


def test_a_file_in_place_of_the_folder(tmp_path: Path):
    (tmp_path / "run").write_text("mine")
    for path in (tmp_path / "run" / "a", tmp_path / "run" / "deep" / "a"):
        with pytest.raises(InputError, match="cannot be written"):
            write_atomic(path, lambda temporary: temporary.write_text("x"))
    assert content(tmp_path) == {"run": b"mine"}


def test_a_folder_in_place_of_the_file(tmp_path: Path):
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        write_atomic(tmp_path / "a", lambda temporary: temporary.write_text("x"))
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_name_too_long(tmp_path: Path):
    with pytest.raises(InputError, match="too long"):
        write_atomic(tmp_path / ("a" * 300), lambda temporary: temporary.write_text("x"))


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A folder with room for 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True
        )
    except OSError as error:
        pytest.skip(f"needs a file system to fill: {error}")
    if done.returncode:
        pytest.skip(f"needs a file system to fill: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tiny_disk: Path):
    write_atomic(tiny_disk / "a", lambda temporary: temporary.write_bytes(b"x" * 20_000))
    with pytest.raises(InputError, match="No space left"):
        write_atomic(tiny_disk / "a", lambda temporary: temporary.write_bytes(b"y" * 100_000))
    assert content(tiny_disk) == {"a": b"x" * 20_000}
