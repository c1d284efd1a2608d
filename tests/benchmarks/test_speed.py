import json

import pytest

from helpers import run_python

pytestmark = pytest.mark.slow

PHASES = {"forward", "backward"}


@pytest.fixture(scope="module")
def result(request, tmp_path_factory):
    """Run the whole comparison at tiny sizes and return its JSON."""
    out = tmp_path_factory.mktemp("speed") / "speed.json"
    arch = request.config.getoption("--arch")
    done = run_python("benchmarks/speed.py", "--quick", "--arch", arch, "--out", str(out), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    return json.loads(out.read_text())


def test_surroundings_and_ceilings(result):
    assert result["quick"]
    assert {"cpu", "cores", "torch", "taichi", "commit", "date"} <= result["surroundings"].keys()
    assert result["ceilings"]["bytes_per_second"] > 1e8
    assert all(0 < seconds < 1e-5 for seconds in result["ceilings"]["seconds_per_gather"].values())


def test_every_operator_is_right_and_timed(result):
    assert {row["operator"] for row in result["rows"]} == {
        "gather",
        "compositing",
        "depth_consistency",
        "distortion",
        "feature_smoothing",
        "hash_encoding",
        "marching",
        "occupancy",
        "plane_sweep",
        "spherical_harmonics",
    }
    for row in result["rows"]:
        assert "taichi" in row["seconds"]
        assert row["times_faster"]
        assert all(ratio > 0 for ratio in row["times_faster"].values())
        assert row["bytes_each"].keys() == row["floor_seconds"].keys() <= PHASES
        assert row["times_floor"] > 0
        for phases in row["seconds"].values():
            assert phases.keys() == row["floor_seconds"].keys()
            for spread in phases.values():
                assert 0 < spread["fastest"] <= spread["low"] <= spread["median"] <= spread["high"]


def test_steps_of_both_stages(result):
    steps = result["steps"]
    assert {"ours", "torch, bags", "torch, ordinary"} == steps["radiance"]["rivals"].keys()
    for stage in ("radiance", "features"):
        step = steps[stage]
        assert step["rays_per_second"] > 0
        parts = step["parts"]
        assert {"backward", "optimiser", "rays", "rest"} < parts.keys()
        assert min(parts.values()) > 0, "a part was counted twice"
    assert {"marching", "density", "colour", "compositing", "loss"} < steps["radiance"]["parts"].keys()
    assert {"clusters", "visible samples", "features", "loss"} < steps["features"]["parts"].keys()
    assert steps["features"]["marched"] >= steps["features"]["samples"]
    assert all(picture["features"] and min(picture["seconds"]) > 0 for picture in steps["pictures"])


def test_growth_and_lifting(result):
    assert {row["over"] for row in result["growth"]} == {
        "samples", "rays", "rows of a level", "channels", "pixels a row", "images"
    }  # fmt: skip
    assert all(len(row["values"]) == len(row["seconds"]) > 1 for row in result["growth"])
    assert len(result["lifting"]["loss"]) == 2
    for row in result["lifting"]["loss"]:
        assert row["seconds"].keys() == {
            f"{loss}, {name}" for loss in ("ranking", "paper") for name in ("ours", "loops")
        }
    assert result["lifting"]["hierarchy"]["patches"] > 20


def test_quality_over_time(tmp_path, request):
    out, arch = tmp_path / "psnr.json", request.config.getoption("--arch")
    done = run_python("benchmarks/speed.py", "--quick", "--only", "psnr", "--arch", arch, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(out.read_text())["psnr"]
    assert rows[-1]["seconds"] >= 5
    assert [row["steps"] for row in rows] == sorted(row["steps"] for row in rows)
    assert rows[-1]["psnr"] > rows[0]["psnr"], "it learned nothing"


def test_an_unknown_part_is_refused():
    done = run_python("benchmarks/speed.py", "--quick", "--only", "nothing")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: --only nothing: no such part or operator; choose from operators, steps, ")
    assert "hash_encoding" in last
    assert not done.stdout, "nothing is measured before"
