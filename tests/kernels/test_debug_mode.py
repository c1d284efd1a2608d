"""Kernels stay inside their tensors: the marked tests run again with Taichi checking every index."""

import pytest

from helpers import run_python

pytestmark = pytest.mark.slow

OUT_OF_BOUNDS = """
import sys
import taichi as ti, torch
from omniseg_kernels import launch

@ti.kernel
def one_too_far(values: ti.types.ndarray(ti.f32, ndim=1)):
    for n in range(values.shape[0]):
        values[n + 1] = 1.0

launch.init("cpu", debug=sys.argv[1] == "debug")
launch.launch(one_too_far, (), (torch.zeros(8)[:4],))
print("finished")
"""


def test_debug_mode_catches_a_write_out_of_bounds(tmp_path):
    script = tmp_path / "one_too_far.py"  # a file: Taichi reads a kernel's source
    script.write_text(OUT_OF_BOUNDS)
    # Without debug mode nothing reports it. The tensor is half of a larger one, so that no foreign memory is written.
    silent = run_python(str(script), "plain")
    assert silent.returncode == 0, silent.stderr
    assert "finished" in silent.stdout
    caught = run_python(str(script), "debug")
    assert caught.returncode != 0
    assert "finished" not in caught.stdout
    assert "out of bound" in (caught.stdout + caught.stderr).lower()


def test_kernels_stay_in_bounds(request):
    arch = request.config.getoption("--arch")
    options = ("-q", "-x", "-m", "bounds", "--taichi-debug", "--arch", arch)
    # After half a minute the output names the tests that still run.
    got = run_python("-m", "pytest", "tests/kernels", *options, "-o", "faulthandler_timeout=30")
    assert got.returncode == 0, got.stdout[-4000:] + got.stderr[-2000:]
