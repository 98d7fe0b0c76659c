"""Conversion of arrays to picture files: grids, captions, films and curves."""
