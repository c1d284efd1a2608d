"""Open a window on a trained run; the same as `omniseg gui`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("gui")
