"""The annotations of the arrays that this folder's functions take and return."""

from collections.abc import Mapping

from jaxtyping import Array, Float, Key

Images = Float[Array, "n h w c"]
# Maps of the plane, homogeneous: see `ganjax.augment.affine`.
Maps = Float[Array, "n 3 3"]
# Maps of colours, homogeneous: see `ganjax.augment.colour`.
ColourMaps = Float[Array, "n 4 4"]
# One number for each sample of a batch.
PerSample = Float[Array, " n"]
Probability = Float[Array, ""] | float
# The probability of each transform, by its name.
Probabilities = Mapping[str, Probability]
RandomKey = Key[Array, ""]
