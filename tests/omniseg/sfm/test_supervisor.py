"""The process that runs COLMAP, with other programs in its place that hang, crash or wait."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import ROOT
from omniseg.errors import InputError
from omniseg.sfm import supervisor
from omniseg.sfm.supervisor import run_worker


def program(tmp_path: Path, code: str) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text("import json, os, sys, time\njob = json.load(open(sys.argv[1]))\n" + code)
    return [sys.executable, str(path)]


REPORT = "print(json.dumps(['matches', 3, 10]), flush=True)\n"


def test_a_job_is_handed_over_and_its_progress_shown(tmp_path, capsys):
    code = REPORT + "open(job['out'], 'w').write('done'); sys.stderr.write('a message')"
    run_worker({"out": str(tmp_path / "x")}, tmp_path, stall_seconds=60, command=program(tmp_path, code))
    assert (tmp_path / "x").read_text() == "done"
    assert (tmp_path / "colmap.log").read_text() == "a message"
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "matches" in shown.err
    assert "3/10" in shown.err


def test_progress_can_be_turned_off(tmp_path, capsys):
    run_worker({}, tmp_path, stall_seconds=60, progress=False, command=program(tmp_path, REPORT))
    assert capsys.readouterr().err == ""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(path: Path) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    pytest.fail(f"{path} did not appear")


def ends(pid: int) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


HANG = REPORT + "open(job['pid'], 'w').write(str(os.getpid()))\ntime.sleep(600)\n"


def test_a_process_that_hangs_is_ended_with_a_message(tmp_path):
    with pytest.raises(InputError, match=r"no progress for 3 s in the step matches and was ended.*stall-seconds"):
        run_worker(
            {"pid": str(tmp_path / "pid")}, tmp_path, stall_seconds=3, progress=False, command=program(tmp_path, HANG)
        )
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_process_that_crashes_is_reported_with_its_last_message(tmp_path):
    code = REPORT + "sys.stderr.write('no memory\\n*** Aborted\\n  @ 0x1 main\\n'); sys.stderr.flush(); os.abort()"
    with pytest.raises(InputError, match="ended with signal SIGABRT in the step matches: no memory\nStart again"):
        run_worker({}, tmp_path, stall_seconds=60, progress=False, command=program(tmp_path, code))
    (tmp_path / "colmap.log").unlink()
    with pytest.raises(InputError, match="ended with status 3 in the step start: no message"):
        run_worker({}, tmp_path, stall_seconds=60, progress=False, command=program(tmp_path, "sys.exit(3)"))


PARENT = """
import json, sys
from pathlib import Path
from omniseg.sfm.supervisor import run_worker
folder = Path(sys.argv[1])
run_worker({"pid": str(folder / "pid")}, folder, stall_seconds=600, progress=False, command=json.loads(sys.argv[2]))
"""
WAIT_FOR_PARENT = "from omniseg.sfm.lifeline import end_with_parent\nend_with_parent()\n"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals of POSIX")
@pytest.mark.parametrize("number", ["SIGINT", "SIGKILL"])
def test_ctrl_c_and_a_kill_of_the_program_end_the_process_too(tmp_path, number):
    command = json.dumps(program(tmp_path, WAIT_FOR_PARENT + HANG))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    # A shell without job control starts `pytest &` with SIGINT ignored, and children inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + PARENT
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), command], env=environment, stderr=-3)
    try:
        pid = wait_for(tmp_path / "pid")
        assert alive(pid)
        parent.send_signal(getattr(signal, number))
        assert parent.wait(60) != 0
        assert ends(pid)
    finally:
        parent.kill()
        parent.wait()


def test_a_missing_pycolmap_names_the_extra(monkeypatch):
    monkeypatch.setattr(supervisor.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'omniseg3d\[sfm\]'"):
        supervisor.require_pycolmap()
