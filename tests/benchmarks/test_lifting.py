import json

from helpers import run_python


def test_the_benchmark_runs_and_is_right(tmp_path):
    out = tmp_path / "lifting.json"
    done = run_python("benchmarks/lifting.py", "--quick", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert {"cpu", "cores", "torch", "commit", "date"} <= result["surroundings"].keys()
    assert len(result["loss"]) == 2
    for row in result["loss"]:
        assert row["seconds"].keys() == {
            f"{form}, {name}" for form in ("raised", "ranked") for name in ("ours", "loops")
        }
    assert result["hierarchy"]["patches"] > 20
