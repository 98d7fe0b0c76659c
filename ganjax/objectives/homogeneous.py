"""The gradient of a loss and of R1 or R2 together, of critics that are homogeneous.

A network of LeakyReLU without norms is piecewise linear and homogeneous: with images x, biases b
and all other parameters W, D(t x, t b, W) = t D(x, b, W) for t > 0. So is grad_W D, which therefore
is its own derivative in the direction (x, b), by Euler's theorem. The gradient of |v|^2 / 2 with
respect to W, where v = grad_x D, is another derivative of grad_W D, in the direction (v, 0). With
weights s_i and c_i of the samples x_i,

    grad_W sum_i s_i D(x_i) + c_i / 2 |v_i|^2

thus is the derivative of sum_i grad_W D(x_i) in the directions (s_i x_i + c_i v_i, s_i b). It takes
four passes: the scores, their gradient, and the two products of each layer in that derivative. The
gradients of loss and penalty by themselves take six.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, PyTree, Shaped

Scores = Float[Array, " n"]
Images = Float[Array, "n ..."]
# A homogeneous critic: (params, images (N, ...), labels (N,)) -> scores (N,).
Critic = Callable[[Any, Images, Array], Scores]


class Linearised(NamedTuple):
    """A homogeneous critic at images.

    Attributes:
      scores: D(x_i), (N,).
      slopes: grad_x D(x_i), of the images' shape.
      gradient: (s, c), both (N,) -> the gradient with respect to the parameters of
        sum_i s_i D(x_i) + c_i / 2 |slopes_i|^2.
    """

    scores: jax.Array
    slopes: jax.Array
    gradient: Callable[[jax.Array, jax.Array], PyTree]


def linearise(
    critic: Critic,
    params: PyTree,
    images: Images,
    label: Shaped[Array, "n ..."],
    added: tuple[str, ...],
) -> Linearised:
    """Computes the scores of a homogeneous critic and what their gradients take.

    Args:
      critic: the critic, in which the score of an image depends on that image and its label alone.
      params: the critic's parameters.
      images: the images x_i.
      label: their labels.
      added: the names of the parameters that are added, such as biases: multiplying these and the
        images by one factor > 0 must multiply the scores by it.
    """
    flat: Any = flatten_dict(params)
    # Each sample has biases of its own, whose direction has the sample's weight.
    biases = {
        path: jnp.broadcast_to(leaf[None], (len(images), *leaf.shape))
        for path, leaf in flat.items()
        if path[-1] in added
    }
    kernels = {path: leaf for path, leaf in flat.items() if path not in biases}

    def scores(kernels, biases, images):
        def score(biases, image, label):
            return critic(unflatten_dict(kernels | biases), image[None], label[None])[0]

        return jax.vmap(score)(biases, images, label)

    def gradients(biases, images):
        values, pull_back = jax.vjp(scores, kernels, biases, images)
        return values, *pull_back(jnp.ones_like(values))

    (values, _, of_biases, slopes), push_forward = jax.linearize(gradients, biases, images)

    def gradient(weights, penalties):
        direction = _scaled(weights, images) + _scaled(penalties, slopes)
        of_kernels = push_forward(
            {path: _scaled(weights, leaf) for path, leaf in biases.items()}, direction
        )[1]
        # The slopes with respect to biases are constant where D is linear: |v|^2 adds nothing.
        summed = {path: jnp.tensordot(weights, leaf, 1) for path, leaf in of_biases.items()}
        return unflatten_dict(of_kernels | summed)

    return Linearised(values, slopes, gradient)


def _scaled(weights: jax.Array, leaf: jax.Array) -> jax.Array:
    """Multiplies the samples (N, ...) by their weights (N,)."""
    return weights.astype(leaf.dtype).reshape(-1, *(1,) * (leaf.ndim - 1)) * leaf
