"""Measure a trained run; the same as `omniseg evaluate`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("evaluate")
