"""The settings of a command's process: its compiler, its memory pages and its signals."""
