"""Metrics of generated images: pure functions of samples and data."""
