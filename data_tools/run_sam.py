"""Make mask hierarchies of photos; the same as `omniseg run_sam`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("run_sam")
