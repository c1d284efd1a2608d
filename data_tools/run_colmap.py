"""Estimate the poses of photos or of a video; the same as `omniseg run_colmap`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("run_colmap")
