"""How reals and samples are stored outside of the networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from initial import initial

from ganjax.engine import step as steps
from ganjax.engine.algorithm import Algorithm
from ganjax.engine.phases import Phase
from ganjax.engine.storage import FLOATS, IMAGES

PHASE = Phase(0, 10, 4, 1)


def of_vectors(storage):
    """The smallest GAN of vectors: G adds a condition to a shift, and D is a product with one."""

    def generate(params, vars, z, context):
        made = params[None] + z + context.batch["condition"]
        return {**context.batch, "vector": made}, vars

    def discriminate(params, vars, fake, context):
        scores = context.batch["vector"] @ params, fake["vector"] @ params
        return (*scores, context.batch["condition"]), vars

    return Algorithm(
        init=lambda key: ((jnp.zeros(2), {}), (jnp.ones(2), {})),
        latent=lambda key, n: jax.random.normal(key, (n, 2)),
        generate=generate,
        discriminate=discriminate,
        d_loss=lambda scores, context: (
            jnp.mean(scores[1] - scores[0]),
            {"seen": jnp.mean(scores[2])},
        ),
        g_loss=lambda scores, context: (-jnp.mean(scores[1]), {}),
        sample=lambda params, vars, z, condition, phase: params[None] + z + condition,
        g_tx=optax.sgd(0.5),
        d_tx=optax.sgd(0.0),
        phases=(PHASE,),
        storage=storage,
    )


def test_a_gan_of_vectors_is_trained_and_sampled_by_the_step_of_images():
    algorithm = of_vectors(FLOATS)
    state = initial(partial(steps.init_state, algorithm), jax.random.key(0))
    condition = np.float32([[1, 0], [0, 1], [1, 1], [0, 0]])
    batch = {"condition": condition[None], "vector": 3 * condition[None]}
    step = steps.make_train_step(algorithm)
    state, metrics = step(state, batch, jax.random.key(1), phase=PHASE)
    # The gradient of -mean(fake @ 1) is -1, which a rate of 0.5 makes a shift of 0.5.
    np.testing.assert_allclose(state.g.params, [0.5, 0.5])
    assert metrics["seen"] == condition.mean()
    z = np.float32(np.random.RandomState(0).randn(4, 2))
    samples = steps.make_sampler(algorithm)(state.ema, z, condition, phase=PHASE)
    np.testing.assert_allclose(samples, 0.5 + z + condition)


def test_bytes_are_pixels_for_images_and_numbers_for_anything_else():
    stored = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(IMAGES.read(stored, (-1.0, 1.0)), [-1, -0.6, 1], atol=1e-6)
    assert FLOATS.read(stored, (-1.0, 1.0)) is stored
    labels = np.array([3], np.int32)
    assert IMAGES.read(labels, (-1.0, 1.0)) is labels
    np.testing.assert_array_equal(IMAGES.write(jnp.float32([-1, 1]), (-1.0, 1.0)), [0, 255])
