"""Sweeps, benchmarks and launchers. Nothing in ganjax imports from this package."""

from pathlib import Path

# The folder of experiments/ and configs/, wherever they are installed.
ROOT = Path(__file__).resolve().parents[1]
