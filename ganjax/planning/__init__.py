"""What a run would need, known before it is launched."""
