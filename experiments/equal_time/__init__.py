"""Comparison of systems after equal seconds of train steps: its parts, runs, figures and table."""
