"""The pipeline: what is in a batch, and that seed and step alone decide it."""

import threading

import jax
import numpy as np
import pytest

from ganjax.data import pipeline
from ganjax.data.base import Source
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.engine.phases import Phase
from ganjax.errors import DataError
from ganjax.parallel.sharding import make_layout

PHASE = Phase(start=0, stop=1_000, batch_size=16, image_size=32)


def digits(split="train"):
    data = DataFields(
        source="embedded:mnist5k", label="label", num_classes=10, channels=1, fit="pad"
    )
    return open_source(data, split, image_size=32)


def batches(start=0, seed=0, reals=2, phase=PHASE, **options):
    sharding = make_layout().batches
    return pipeline.train_batches(
        digits(), phase, seed=seed, reals=reals, start=start, sharding=sharding, **options
    )


def on_device():
    """The digits, kept on the devices."""
    return pipeline.put_all(digits(), make_layout().batches)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_batches_of_a_dispatch_are_those_of_its_steps(kept, mirror):
    options = {"on_device": on_device() if kept else None, "mirror": mirror}
    alone = [jax.device_get(batch) for batch, _ in zip(batches(**options), range(4), strict=False)]
    for count, batch in zip((1, 3), batches(**options, dispatches=iter((1, 3))), strict=True):
        assert tuple(batch["image"].sharding.spec) == (None, *make_layout().batches.spec)
        for i in range(count):
            jax.tree.map(
                np.testing.assert_array_equal, alone.pop(0), {n: a[i] for n, a in batch.items()}
            )


@pytest.mark.parametrize("size", [7, 10])
def test_the_order_is_one_permutation_after_another(size):
    every = pipeline.order(0, 0, size, 0, 3 * size)
    epochs = every.reshape(3, size)
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(pipeline.order(0, 0, size, 5, size), every[5 : 5 + size])
    assert not np.array_equal(every, pipeline.order(1, 0, size, 0, 3 * size))
    assert not np.array_equal(every, pipeline.order(0, 100, size, 0, 3 * size))


def test_the_order_of_data_is_frozen():
    """A run resumed under another version of NumPy must see the same images."""
    assert pipeline.order(0, 0, 10, 8, 4).tolist() == [5, 7, 6, 7]


def test_a_later_phase_begins_with_the_first_of_an_order_of_its_own():
    later = Phase(start=4, stop=9, batch_size=16, image_size=32)
    expected = digits().fetch(pipeline.order(0, 4, 4_500, 0, 32))
    image = next(batches(start=4, phase=later))["image"]
    np.testing.assert_array_equal(image.reshape(32, 32, 32, 1), expected["image"])


def test_batches_are_sharded_uint8_and_follow_the_order():
    batch = next(batches())
    assert batch["image"].shape == (2, 16, 32, 32, 1)
    assert batch["image"].dtype == np.uint8
    assert len(batch["image"].sharding.device_set) == 8
    indices = pipeline.order(0, 0, 4_500, 0, 32)
    expected = digits().fetch(indices)
    np.testing.assert_array_equal(batch["image"].reshape(32, 32, 32, 1), expected["image"])
    np.testing.assert_array_equal(batch["label"].reshape(32), expected["label"])


def test_a_run_resumed_at_any_step_sees_the_same_images():
    first = batches()
    whole = [next(first)["image"] for _ in range(6)]
    resumed = batches(start=4)
    for image in whole[4:]:
        np.testing.assert_array_equal(image, next(resumed)["image"])
    assert not np.array_equal(whole[0], next(batches(seed=1))["image"])


def test_the_pipeline_ends_with_its_phase():
    assert sum(1 for _ in batches(start=995)) == 5


def test_a_set_on_the_devices_gives_the_same_batches():
    near, far = batches(on_device=on_device()), batches()
    for _ in range(3):
        a, b = next(near), next(far)
        assert a["image"].sharding == b["image"].sharding
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_set_too_large_for_the_devices_is_refused(monkeypatch):
    monkeypatch.setattr(pipeline, "ON_DEVICE_BYTES", 1 << 20)
    with pytest.raises(DataError, match=r"config.data.on_device=True: the set is 0.0 GiB"):
        pipeline.check(digits(), on_device=True)
    pipeline.check(digits(), on_device=False)


def test_each_process_reads_only_its_columns():
    """The parts that the devices of two processes would read make up the batch."""
    devices = jax.devices()
    read = []
    source = digits()
    recording = source._replace(fetch=lambda i: read.append(i) or source.fetch(i))
    layout = make_layout(devices[4:])
    next(iter(pipeline.eval_batches(recording, 8, limit=1, sharding=layout.batches)))
    assert read[0].tolist() == list(range(8))

    class Half:
        """The sharding as the second of two processes sees it."""

        def addressable_devices_indices_map(self, shape):
            every = make_layout(devices).batches.devices_indices_map(shape)
            return {device: every[device] for device in devices[4:]}

    assert pipeline._local_columns(Half(), 2, 16) == slice(8, 16)


def test_a_small_held_out_split_is_repeated_to_fill_a_batch():
    source = digits("validation")._replace(size=5)
    (batch,) = pipeline.eval_batches(source, 16, limit=9, sharding=make_layout().batches)
    np.testing.assert_array_equal(batch["image"][0, :5], batch["image"][0, 5:10])


def test_eval_batches_are_limited():
    source = digits("validation")
    sharding = make_layout().batches
    assert sum(1 for _ in pipeline.eval_batches(source, 16, limit=3, sharding=sharding)) == 3
    assert sum(1 for _ in pipeline.eval_batches(source, 16, limit=99, sharding=sharding)) == 31


def test_images_are_flipped_by_a_fair_coin_that_resuming_and_the_devices_do_not_change():
    plain, far = batches(), batches(mirror=True)
    near = batches(mirror=True, on_device=on_device())
    coins = pipeline.mirrored(0, 0, 4_500, 0, 64).reshape(2, 2, 16)
    for flips in coins:
        image = np.asarray(next(plain)["image"])
        expected = np.where(flips[..., None, None, None], image[..., ::-1, :], image)
        for each in (near, far):
            np.testing.assert_array_equal(next(each)["image"], expected)
    np.testing.assert_array_equal(next(batches(start=2, mirror=True))["image"], next(far)["image"])
    every = pipeline.mirrored(0, 0, 4_500, 0, 9_000).reshape(2, -1)
    assert np.abs(every.mean() - 0.5) < 0.02
    assert np.abs((every[0] == every[1]).mean() - 0.5) < 0.03


def test_threads_end_with_the_batches_that_nobody_asks_for():
    before = set(threading.enumerate())  # Those of other tests, which may end meanwhile.
    source = Source(8, lambda i: {"image": np.zeros((len(i), 2, 2, 1), np.uint8)}, ())
    steps = pipeline._Steps(source, Phase(0, 10**6, 4), 0, 1, slice(0, 4), False, False)
    batches = pipeline._read_ahead(steps, range(10**6))
    next(batches)
    started = set(threading.enumerate()) - before
    reading = [thread for thread in started if thread.name.startswith("reading")]
    assert reading
    batches.close()
    for thread in reading:
        thread.join(10)
        assert not thread.is_alive()
