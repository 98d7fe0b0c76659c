"""The process itself: compilation, memory pages and signals."""
