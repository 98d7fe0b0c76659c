"""What `import ganjax` offers to Python code; its names are in `ganjax.__all__`."""
