"""Render a trained run; the same as `omniseg render`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("render")
