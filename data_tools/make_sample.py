"""Render a sample scene; the same as `omniseg make_sample`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("make_sample")
