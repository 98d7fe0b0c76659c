"""What is asked of finished runs: their samples, and measurements of sets of images."""
