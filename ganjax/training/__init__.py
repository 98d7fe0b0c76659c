"""A run from start to finish: its folder, the loop, checkpoints, metrics and evaluation."""
