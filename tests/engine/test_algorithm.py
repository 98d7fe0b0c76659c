"""An algorithm's functions and the Protocols that state their arguments."""

import inspect
import typing

import jax.numpy as jnp
import pytest
from small import shipped, shrink

from ganjax.engine.algorithm import Algorithm
from ganjax.training import schema


def protocols():
    """The Protocol of each function of an algorithm, by the name of its field."""
    found = {}
    for name, hint in typing.get_type_hints(Algorithm).items():
        for each in (hint, *typing.get_args(hint)):
            if getattr(each, "_is_protocol", False) and "__call__" in vars(each):
                found[name] = each
    return found


def arguments(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_every_function_of_an_algorithm_has_a_protocol_that_says_what_it_does():
    found = protocols()
    functions = set(Algorithm._fields) - {
        *("g_tx", "d_tx", "phases", "penalty_interval", "value_range", "n_critic"),
        *("real_batches", "order", "num_classes", "loss_scaling", "accumulate"),
        *("group_size", "last_values", "meanings", "fresh_g_reals", "storage", "d_gradient"),
    }
    assert set(found) == functions
    assert all(protocol.__doc__ for protocol in found.values())


@pytest.mark.parametrize("name", ["wgan_gp", "cgan", "progan", "ada"])
def test_shipped_algorithms_name_their_arguments_as_the_protocols_do(name):
    config, module = schema.load(shrink(shipped(name)))
    algorithm = module.build(config)
    algorithm = algorithm.in_phase(algorithm.phases[-1])
    for field, protocol in protocols().items():
        functions = [getattr(algorithm, field)]
        if field in ("leaks", "schedules"):
            functions = getattr(algorithm, field).values()
        for function in functions:
            if function is not None:
                assert arguments(function) == arguments(protocol.__call__), field


def test_an_algorithm_that_states_no_average_samples_the_generator_itself():
    config, module = schema.load(shrink(shipped("dcgan")))
    stated = module.build(config)._asdict()
    del stated["ema_decay"]
    assert Algorithm(**stated).ema_decay(jnp.int32(1_000)) == 0
