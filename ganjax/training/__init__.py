"""Training of a run from start to finish: its folder, loop, checkpoints, metrics and evaluation."""
