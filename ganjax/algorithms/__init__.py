"""One file per system; each has `Config` (its fields) and `build(config) -> Algorithm`."""
