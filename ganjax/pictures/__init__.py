"""Arrays to picture files: grids, captions, films and curves. Nothing here knows a run."""
