"""Measures of what a generator has learnt: pure functions of samples and data."""
