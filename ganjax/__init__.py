"""ganjax: generative adversarial networks for research in JAX."""

__version__ = "0.1.0"
