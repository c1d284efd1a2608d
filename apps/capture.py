"""Make a run of photos or a video; the same as `omniseg capture`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("capture")
