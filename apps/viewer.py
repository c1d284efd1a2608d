"""Serve a trained run as a web page; the same as `omniseg viewer`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("viewer")
