"""Algorithms. Each is a module with `Config`, its fields, and `build(config) -> Algorithm`."""
