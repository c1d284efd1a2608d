"""Export meshes or points of a trained run; the same as `omniseg export`."""

from omniseg.commands import run

if __name__ == "__main__":
    run("export")
