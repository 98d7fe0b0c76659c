"""The Flax modules that a config describes, as the pure functions of an algorithm."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from ganjax.config import ConfigError, Fields
from ganjax.keys import fold
from ganjax.models import dcgan, maxout, mlp, progan, resnet, spectral
from ganjax.models.layers import VALUE_RANGES, Conditioning
from ganjax.models.norms import Norm
from ganjax.training.schema import RunConfig

# What the networks compute in: None is the parameters' own, float32.
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


class Networks(NamedTuple):
    """Two Flax modules as pure functions; `vars` are the collections but "params".

    Attributes:
      init: as `Algorithm.init`.
      latent: as `Algorithm.latent`.
      generate: (params, vars, z, label, key) -> (images, vars), as in training.
      sample: as `Algorithm.sample`.
      prepare_d: (params, vars) -> the same with spectral normalisation and its one power
        iteration done. All passes of an update start from the same vectors, so they see the
        same kernels and the vectors move by one iteration.
      discriminate: (prepared params, vars, images, label, key) -> (outputs (N,), vars), as in
        training.
      value_range: as `Algorithm.value_range`.
    """

    init: Callable
    latent: Callable
    generate: Callable
    sample: Callable
    prepare_d: Callable
    discriminate: Callable
    value_range: tuple[float, float]


def networks(config: RunConfig, *, fades: bool = False) -> Networks:
    """The networks that a config describes.

    Args:
      config: has latent_dim, latent, conditioning, generator, discriminator and batch_norm.
      fades: whether the highest resolution of networks "progan" is faded in.

    Raises:
      ConfigError: they do not fit together, or not the images.
    """
    _check(config)
    generator, discriminator = _generator(config, fades), _discriminator(config, fades)
    prepare_g = _preparation(config.generator.spectral_norm)
    prepare_d = _preparation(config.discriminator.spectral_norm)
    draw = {"normal": jax.random.normal, "uniform": jax.random.uniform}[config.latent]
    size, channels = config.image_size, config.data.channels

    def init(key):
        label = jnp.zeros((1,), jnp.int32)
        z, image = jnp.zeros((1, config.latent_dim)), jnp.zeros((1, size, size, channels))
        g, d = fold(key, "g"), fold(key, "d")
        return (
            _split(generator.init(g, z, label, train=False), config.generator, g),
            _split(discriminator.init(d, image, label, train=False), config.discriminator, d),
        )

    def latent(key, n):
        return draw(key, (n, config.latent_dim))

    def generate(params, vars, z, label, key):
        params, vars = prepare_g(params, vars)
        return _train(generator, params, vars, z, label, key)

    def sample(params, vars, z, label, phase):
        params, vars = prepare_g(params, vars)
        return generator.apply({"params": params, **vars}, z, label, train=False)

    def discriminate(params, vars, x, label, key):
        return _train(discriminator, params, vars, x, label, key)

    output = getattr(config.generator, "output", "sigmoid")
    return Networks(init, latent, generate, sample, prepare_d, discriminate, VALUE_RANGES[output])


def _generator(config: RunConfig, fades: bool) -> nn.Module:
    fields = config.generator.model_dump(exclude={"network", "batch_norm", "spectral_norm"})
    network, size = config.generator.network, {"size": config.image_size}
    fields |= {"channels": config.data.channels, "dtype": DTYPES[config.precision]}
    if network == "maxout":
        return maxout.Generator(num_classes=config.data.num_classes, **size, **fields)
    fields["conditioning"] = _conditioning(config, "generator")
    if network != "mlp":
        fields["remat"] = config.remat
    if network == "progan":
        return progan.Generator(fades=fades, **fields)
    fields["norm"] = _norm(config, config.generator) if config.generator.batch_norm else None
    if network == "mlp":
        return mlp.Generator(**size, **fields)
    if network == "resnet":
        del fields["first_norm"]  # It has no norm of its first layer.
    return {"dcgan": dcgan, "resnet": resnet}[network].Generator(**fields)


def _discriminator(config: RunConfig, fades: bool) -> nn.Module:
    d = config.discriminator
    fields = d.model_dump(exclude={"network", "dropout_after", "final_size", "spectral_norm"})
    fields["dtype"] = DTYPES[config.precision]
    if d.network == "maxout":
        return maxout.Discriminator(num_classes=config.data.num_classes, **fields)
    fields["conditioning"] = _conditioning(config, "discriminator")
    if d.network != "mlp":
        fields["remat"] = config.remat
    if d.network == "progan":
        return progan.Discriminator(fades=fades, **fields)
    rest = len(d.widths) - 1
    fields["batch_norm"] = (d.batch_norm == "all",) + (d.batch_norm != "none",) * rest
    first = d.dropout if d.dropout_after == "all" else 0.0
    fields["dropout"] = (first,) + (d.dropout,) * rest
    fields["norm"] = _norm(config, d)
    if d.network == "resnet":
        return resnet.Discriminator(final_size=d.final_size, **fields)
    return {"dcgan": dcgan, "mlp": mlp}[d.network].Discriminator(**fields)


def _norm(config: RunConfig, player: Fields) -> Norm:
    fields = config.batch_norm
    use_scale = fields.scale and not player.spectral_norm
    return Norm(use_scale, player.init_stddev, fields.momentum, fields.epsilon)


def _conditioning(config: RunConfig, player: str) -> Conditioning:
    kind = getattr(config.conditioning, player)
    return Conditioning(kind, config.data.num_classes, config.conditioning.embedding_dim)


def _preparation(spectral_norm: bool) -> Callable:
    """(params, vars) -> those that a module is applied with."""

    def normalise(params, vars):
        params, vectors = spectral.normalise(params, vars[spectral.COLLECTION])
        return params, {**vars, spectral.COLLECTION: vectors}

    return normalise if spectral_norm else lambda params, vars: (params, vars)


def _train(module, params, vars, x, label, key):
    """Applied as in training: (output, vars), with what the module does not know unchanged."""
    variables = {"params": params, **vars}
    output, moved = module.apply(
        variables, x, label, train=True, rngs={"dropout": key}, mutable=list(vars)
    )
    return output, {**vars, **moved}


def _split(variables, player: Fields, key):
    """Flax variables -> (params, the other collections)."""
    params = variables["params"]
    vars = {name: values for name, values in variables.items() if name != "params"}
    if player.spectral_norm:
        vars[spectral.COLLECTION] = spectral.init(params, fold(key, spectral.COLLECTION))
    return params, vars


def _check(config: RunConfig) -> None:
    size = config.image_size
    for player in ("generator", "discriminator"):
        fields = getattr(config, player)
        if fields.network == "dcgan" or (player, fields.network) == ("generator", "resnet"):
            _check_size(fields.widths, size, player, dcgan.image_size(fields.widths))
        if fields.network == "progan":
            _check_size(fields.widths, size, player, progan.image_size(fields.widths))
        _check_label(config, player)
        if config.remat and fields.network in ("mlp", "maxout"):
            raise ConfigError(
                f"config.remat=True: config.{player}.network={fields.network!r} has no "
                "convolutional blocks to compute anew; set it to False"
            )
    d, g = config.discriminator, config.generator
    if getattr(g, "first_norm", "channel") == "unit" and not (
        g.network == "dcgan" and g.batch_norm
    ):
        raise ConfigError(
            f"config.generator.first_norm={g.first_norm!r}: network={g.network!r} with "
            f"batch_norm={g.batch_norm} has no norm of its first layer; set 'channel', or "
            "network='dcgan' and batch_norm=True"
        )
    if d.network == "dcgan" and d.final_size != 4:
        raise ConfigError(
            f"config.discriminator.final_size={d.final_size}: the network 'dcgan' ends at 4; set "
            "4, or network='resnet'"
        )
    if d.network == "resnet":
        ratio = size // d.final_size
        if size % d.final_size or ratio & (ratio - 1) or 2 ** len(d.widths) < ratio:
            powers = [2**i for i in range(len(d.widths) + 1) if size % 2**i == 0]
            raise ConfigError(
                f"config.discriminator.final_size={d.final_size}: {len(d.widths)} blocks cannot "
                f"halve image_size={size} to it, but to {', '.join(str(size // p) for p in powers)}"
            )


def _check_size(widths, size: int, player: str, made: int) -> None:
    if made != size:
        raise ConfigError(
            f"config.image_size={size}: {len(widths)} widths in config.{player}.widths={widths} "
            f"make {made} pixels; set image_size={made} or add or take away widths (each doubles "
            "the size, from 4)"
        )


def _check_label(config: RunConfig, player: str) -> None:
    kind, fields = getattr(config.conditioning, player), getattr(config, player)
    field, classes = f"config.conditioning.{player}={kind!r}", config.data.num_classes
    if kind != "none" and classes < 2:
        raise ConfigError(
            f"{field}: there is one class; set config.data.label (such as 'label') and "
            "config.data.num_classes, or 'none'"
        )
    other = {"generator": "discriminator", "discriminator": "generator"}[player]
    theirs = getattr(config.conditioning, other)
    if kind == "none" and theirs != "none":
        raise ConfigError(
            f"{field}: config.conditioning.{other} is {theirs!r}, and a label is for both players "
            "or for neither; set a kind here, or 'none' there"
        )
    if fields.network == "maxout" and kind != "one_hot":
        raise ConfigError(f"{field}: the network 'maxout' takes 'one_hot' labels; set that")
    if kind == "batch_norm" and fields.network == "progan":
        raise ConfigError(f"{field}: the network 'progan' has no BatchNorm; set another kind")
    if kind == "batch_norm" and not fields.batch_norm:
        raise ConfigError(
            f"{field}: config.{player}.batch_norm is False; set it to True, or another kind"
        )
    if kind == "batch_norm" and fields.network == "mlp" and len(fields.widths) < 2:
        raise ConfigError(
            f"{field}: the network 'mlp' has no BatchNorm after its first layer, and "
            f"config.{player}.widths={fields.widths} is one; add widths, or take another kind"
        )
