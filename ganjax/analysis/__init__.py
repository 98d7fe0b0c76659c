"""Analysis of trained runs: their samples, their curves, and measurements of sets of images."""
