"""No command mixes devices: each runs on a stand-in device whose tensors refuse to meet those of the CPU."""

import pytest

from helpers import run_python

pytestmark = pytest.mark.slow


def test_from_photos_to_a_mesh_no_command_mixes_devices(tmp_path):
    done = run_python("tests/strict_device.py", str(tmp_path), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[-8:-1] == [
        "train 0", "train 0", "evaluate 0", "segment 0", "segment 0", "render 0", "export 0",
    ]  # fmt: skip
    assert (tmp_path / "mesh.ply").stat().st_size > 1000


def test_the_stand_in_device_refuses_tensors_of_the_cpu():
    script = (
        "import torch, strict_device\n"
        "strict_device.install()\n"
        "from omniseg_kernels import spherical_harmonics\n"
        "there, here = torch.ones(3, device='meta'), torch.ones(3)\n"
        "assert (there + 2).sum().item() == 9 and (there * there).cpu().tolist() == [1, 1, 1]\n"
        "assert spherical_harmonics(torch.rand(5, 3, device='meta')).shape == (5, 16)\n"
        "for mix in (lambda: there + here, lambda: torch.cat([here, there]), lambda: here[there.long()],\n"
        "            lambda: there.numpy(), lambda: spherical_harmonics(torch.rand(5, 3))):\n"
        "    try:\n"
        "        mix()\n"
        "    except (RuntimeError, TypeError, ValueError):\n"
        "        print('refused')\n"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == 5
