"""From arrays to picture files: grids, captions, films and curves. No module here knows runs."""
