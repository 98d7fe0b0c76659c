"""The process of a command: its compiler, its memory pages and its signals."""
