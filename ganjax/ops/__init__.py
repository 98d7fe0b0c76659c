"""Array operations that know nothing of GANs: convolutions, and how each platform computes them."""
