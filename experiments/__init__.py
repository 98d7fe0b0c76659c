"""Sweeps, benchmarks and launchers; nothing in ganjax imports from here."""

from pathlib import Path

# The folder of experiments/ and configs/, wherever they are installed.
ROOT = Path(__file__).resolve().parents[1]
