"""ganjax: generative adversarial networks for research in JAX."""
