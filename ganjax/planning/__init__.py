"""Plans of runs: their memory, their time and their communication, known before a launch."""
