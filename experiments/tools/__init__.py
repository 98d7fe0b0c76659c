"""The design, the runs and the reports of the sweeps in experiments/."""
