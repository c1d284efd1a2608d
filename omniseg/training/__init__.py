"""Training of both stages: losses, optimiser, schedules, checkpoints."""
