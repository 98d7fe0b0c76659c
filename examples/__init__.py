"""Examples of using ganjax from outside."""
