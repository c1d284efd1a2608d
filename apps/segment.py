"""Segment a trained run; the same as `omniseg segment`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("segment")
