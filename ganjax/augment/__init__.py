"""Differentiable augmentations for the discriminator: pure functions of images, p and a key.

Every transform of every sample is drawn on its own; a sample for which nothing was drawn comes
out bit for bit. Given what was drawn all are affine in the image, so that gradients of
any order pass. Shapes are static.
"""
