"""What the sweeps of experiments/ share: their design, their runs, their reports."""
