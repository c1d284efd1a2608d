import json

from helpers import run_python


def test_every_benchmark_runs_and_is_right(request, tmp_path):
    arch = request.config.getoption("--arch")
    out = tmp_path / "speed.json"
    done = run_python("benchmarks/speed.py", "--quick", "--arch", arch, "--out", str(out), timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result["quick"]
    assert {"cpu", "cores", "torch", "taichi", "commit", "date"} <= result["surroundings"].keys()
    operators = {row["operator"] for row in result["rows"]}
    assert operators == {
        "hash_encoding",
        "compositing",
        "marching",
        "distortion",
        "spherical_harmonics",
        "occupancy",
    }
    for row in result["rows"]:
        assert "taichi" in row["seconds"]
        assert row["times_faster"]
        assert all(ratio > 0 for ratio in row["times_faster"].values())
        for phases in row["seconds"].values():
            for spread in phases.values():
                assert 0 < spread["fastest"] <= spread["low"] <= spread["median"] <= spread["high"]
