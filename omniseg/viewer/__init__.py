"""The controller of the interactive viewer, and the windows on top of it."""
