"""Train a scene; the same as `omniseg train`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("train")
