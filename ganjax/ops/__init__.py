"""Array operations that know nothing of models."""
