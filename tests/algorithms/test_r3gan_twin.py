"""A whole train step of R3GAN, of both players, against PyTorch in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from small import shipped

from ganjax.engine.inputs import StepInputs
from ganjax.engine.schedules import Reals
from ganjax.engine.step import init_state, make_train_step
from ganjax.keys import fold
from ganjax.training import schema

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("native_convolutions")]
torch = pytest.importorskip("torch")
N, SIZE, CLASSES = 3, 8, 3
ADA = {"policy": "ada", "controller": {"name": "fixed", "p": 0.8}}
# Each in one of the steps: with all of them a step takes twice as long to compile.
MOVES = ADA | {"families": ("blit", "geometric")}
RECOLOURS = ADA | {
    "families": ("colour", "corrupt"),
    "multipliers": (("brightness", 0.5), ("noise", 0.0)),
}
CASES = {
    "unconditional": (False, None),
    "labels": (True, None),
    "unconditional-moved": (False, MOVES),
    "labels-recoloured": (True, RECOLOURS),
}


def small(labels, augment):
    """Returns R3GAN at 8x8 with one block a size, whose numbers are in the middle of a cosine."""
    config = shipped("r3gan")
    config.update(batch_size=N, image_size=SIZE, latent_dim=5)
    config.data.update(fit="resize", channels=3)
    for network in (config.generator, config.discriminator):
        network.update(widths=(8, 4), group_width=4)
    for tx in (config.g_optimiser, config.d_optimiser):
        # Adam's first update is g / (|g| + eps): with the usual eps rounding would decide signs.
        tx.eps = 1e-3
    if labels:
        config.data.update(label="label", num_classes=CLASSES)
        config.conditioning.update(
            generator="embedding", discriminator="projection", embedding_dim=4
        )
    if augment:
        config.augment = augment
    return schema.load(config)


class Twin:
    """Both networks as functions of the layers' names in PyTorch, with Adam for each."""

    def __init__(self, players, fields, rates, gamma):
        self.params = {
            player: {
                "/".join(path): torch.tensor(np.asarray(leaf), requires_grad=True)
                for path, leaf in flatten_dict(params).items()
            }
            for player, params in players.items()
        }
        self.tx = {
            player: torch.optim.Adam(
                self.params[player].values(), rates[player][0], (0.0, rates[player][1]), fields.eps
            )
            for player in "gd"
        }
        self.gamma = gamma

    def conv(self, x, p, name, groups=1):
        kernel = p[f"{name}/kernel"].permute(3, 2, 0, 1)
        y = torch.nn.functional.conv2d(
            x, kernel, p.get(f"{name}/bias"), padding=kernel.shape[-1] // 2, groups=groups
        )
        return y

    def block(self, x, p, height):
        act = partial(torch.nn.functional.leaky_relu, negative_slope=0.2)
        h = act(self.conv(x, p, f"expand0_{height}"))
        h = act(self.conv(h, p, f"grouped0_{height}", groups=h.shape[1] // 4))
        return x + self.conv(h, p, f"project0_{height}")

    def resample(self, x, up):
        line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
        kernel = torch.outer(line, line).expand(x.shape[1], 1, 4, 4)
        if up:
            call, kernel = torch.nn.functional.conv_transpose2d, 4 * kernel
        else:
            call = torch.nn.functional.conv2d
        return call(x, kernel, stride=2, padding=1, groups=x.shape[1])

    def generate(self, z, label):
        p = self.params["g"]
        if "label/embedding" in p:
            z = torch.cat([z, p["label/embedding"][label]], 1)
        x = (z @ p["latent/kernel"])[:, :, None, None] * p["basis"].permute(2, 0, 1)
        x = self.block(x, p, 4)
        x = self.resample(self.conv(x, p, "width_8"), up=True)
        return self.conv(self.block(x, p, 8), p, "image_8")

    def discriminate(self, x, label):
        p = self.params["d"]
        x = self.block(self.conv(x, p, "image_8"), p, 8)
        x = self.block(self.conv(self.resample(x, up=False), p, "width_8"), p, 4)
        x = (x * p["pixels"].permute(2, 0, 1)).sum((2, 3)) @ p["score/kernel"]
        if "label/embedding" in p:
            return (x * p["label/embedding"][label]).sum(1)
        return x[:, 0]

    def penalty(self, images, label, transform):
        """R1 or R2: half the mean squared norm of the gradient at the images as they are."""
        images = images.detach().requires_grad_()
        score = self.discriminate(transform(images), label).sum()
        (slope,) = torch.autograd.grad(score, images, create_graph=True)
        return slope.square().sum((1, 2, 3)).mean() / 2

    def update(self, player, loss):
        self.tx[player].zero_grad()
        loss.backward(inputs=list(self.params[player].values()))
        self.tx[player].step()

    def step(self, d, g):
        """Updates D and then G; d and g hold reals, labels, latents and augmentations."""
        softplus = torch.nn.functional.softplus
        fake = self.generate(d["z"], d["label"]).detach()
        real_scores = self.discriminate(d["on_real"](d["image"]), d["label"])
        fake_scores = self.discriminate(d["on_fake"](fake), d["label"])
        r1 = self.penalty(d["image"], d["label"], d["in_penalty"])
        r2 = self.penalty(fake, d["label"], d["in_penalty"])
        d_loss = softplus(fake_scores - real_scores).mean() + self.gamma * (r1 + r2)
        self.update("d", d_loss)
        fake = self.generate(g["z"], g["label"])
        real_scores = self.discriminate(g["on_real"](g["image"]), g["label"])
        fake_scores = self.discriminate(g["on_fake"](fake), g["label"])
        g_loss = softplus(real_scores - fake_scores).mean()
        self.update("g", g_loss)
        named = {"d_loss": d_loss, "g_loss": g_loss, "r1": r1, "r2": r2}
        return {name: value.item() for name, value in named.items()}


def affine_maps(apply, context):
    """Returns a function from a key to the augmentation that it draws, as a function in PyTorch.

    All keys share one compiled program.

    Args:
      apply: (images (N, H, W, C), context) -> images, affine in each of them.
      context: a context, whose key is replaced.
    """
    shape = (SIZE, SIZE, 3)
    numbers = np.prod(shape)
    units = jnp.concatenate([jnp.zeros((1, numbers)), jnp.eye(numbers)])
    units = jnp.broadcast_to(units.reshape(-1, 1, *shape), (len(units), N, *shape))

    @jax.jit
    def images(key):
        return jax.lax.map(lambda x: apply(x, context._replace(key=key)), units)

    def of_key(key):
        offset, *rows = torch.tensor(np.asarray(images(key).reshape(-1, N, numbers)))
        matrix = torch.stack(rows) - offset

        def transform(x):
            flat = x.permute(0, 2, 3, 1).reshape(N, -1)
            y = torch.einsum("ni,ino->no", flat, matrix) + offset
            return y.reshape(N, *shape).permute(0, 3, 1, 2)

        return transform

    return of_key


def handed_over(algorithm, context, transform_of):
    """Returns the reals, the latents and the augmentations of an update as PyTorch's arrays."""
    judge = context.named("judge").key
    keys = {
        "on_real": fold(judge, "real"),
        "on_fake": fold(judge, "fake"),
        "in_penalty": context.named("penalty").key,
    }
    z = algorithm.latent(context.named("latent").key, N)
    return {name: transform_of(key) for name, key in keys.items()} | {
        "z": torch.tensor(np.asarray(z)),
        "image": torch.tensor(np.asarray(context.batch["image"])).permute(0, 3, 1, 2),
        "label": torch.tensor(np.asarray(context.batch["label"])).long(),
    }


@pytest.mark.parametrize(("labels", "augment"), CASES.values(), ids=CASES)
def test_a_step_of_both_players_equals_pytorchs(labels, augment):
    config, module = small(labels, augment)
    with jax.enable_x64(True):
        algorithm, key, random = module.build(config), jax.random.key(0), np.random.RandomState(0)
        # All parameters are drawn, since the last layer of each block begins at 0; all else is 0.
        state = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(partial(init_state, algorithm), key),
        )
        drawn = jax.tree.map(
            lambda leaf: jnp.asarray(random.randn(*leaf.shape) / 4), (state.g, state.d)
        )
        step = jnp.asarray(500, jnp.int32)
        g, d = (
            player.replace(params=new.params, opt_state=tx.init(new.params))
            for player, new, tx in zip(
                (state.g, state.d), drawn, (algorithm.g_tx, algorithm.d_tx), strict=True
            )
        )
        state = state.replace(
            step=step, g=g, d=d, ema=state.ema.replace(params=g.params), aug=algorithm.aug_init()
        )
        batch = {
            "image": jnp.asarray(random.uniform(-1, 1, (2, N, SIZE, SIZE, 3))),
            "label": jnp.asarray(random.randint(0, CLASSES if labels else 1, (2, N)), jnp.int32),
        }
        phase = algorithm.phases[0]
        train_step = jax.jit(make_train_step(algorithm), static_argnames="phase")
        after, metrics = train_step(state, batch, key, phase=phase)

        inputs = StepInputs(batch, fold(key, "train", step), step, phase, (-1.0, 1.0))
        contexts = [
            inputs.of_update(*which).context()
            for which in (("d", 0, state.aug, 0), ("g", 0, state.aug, 1))
        ]
        augmentation = config.augment.build((-1.0, 1.0), N, Reals(config.batch_size))
        transform_of = (
            affine_maps(augmentation.apply, contexts[0]) if augment else lambda key: lambda x: x
        )
        images = torch.tensor(np.asarray(batch["image"][0])).permute(0, 3, 1, 2)
        assert torch.allclose(transform_of(key)(images), images) == (augment is None)
        d_inputs, g_inputs = (handed_over(algorithm, each, transform_of) for each in contexts)
        numbers = {name: float(number(step)) for name, number in algorithm.schedules.items()}
        # Adam counts updates, and this is its first.
        first = config.g_optimiser.learning_rate.at(0), config.g_optimiser.b2.at(0)
        rates = dict.fromkeys("gd", tuple(map(float, first)))
        twin = Twin({"g": g.params, "d": d.params}, config.d_optimiser, rates, numbers["r1_weight"])
    expected = twin.step(d_inputs, g_inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)
    for player, moved in (("g", after.g), ("d", after.d)):
        for path, leaf in flatten_dict(moved.params).items():
            theirs = twin.params[player]["/".join(path)].detach().numpy()
            np.testing.assert_allclose(leaf, theirs, rtol=1e-6, atol=1e-7, err_msg=str(path))
    decay = 0.5 ** (N / numbers["ema_half_life"])
    for path, leaf in flatten_dict(after.ema.params).items():
        before = np.asarray(flatten_dict(g.params)[path])
        theirs = twin.params["g"]["/".join(path)].detach().numpy()
        average = decay * before + (1 - decay) * theirs
        np.testing.assert_allclose(leaf, average, rtol=1e-6, atol=1e-7, err_msg=str(path))
