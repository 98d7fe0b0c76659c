"""Losses and penalties: pure functions of scores and gradients, and their config fields."""
