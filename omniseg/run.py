"""The front door: load a trained run, train a capture."""
