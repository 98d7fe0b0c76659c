"""Faults on purpose: what they do to runs, to sets of images and to commands."""
