"""Learning curves: the metrics of a run against the images that it has seen."""

import numpy as np
from small import shipped

from ganjax.analysis.learning_curves import images_seen, learning_curve
from ganjax.training import schema


def algorithm_of(*name):
    config, module = schema.load(shipped(*name))
    return module.build(config)


def test_images_seen_count_all_updates_of_d_and_each_phase_by_its_batch():
    assert images_seen(algorithm_of("cwgan_gp", "celeb_a"), 10) == 3 * 128 * 10
    growing = algorithm_of("progan")
    first, second = growing.phases[:2]
    assert images_seen(growing, first.stop) == first.stop * first.batch_size
    further = first.stop * first.batch_size + 4 * second.batch_size
    assert images_seen(growing, first.stop + 4) == further


def test_a_learning_curve_is_read_or_derived_from_the_rows():
    algorithm = algorithm_of("cwgan_gp", "celeb_a")
    rows = [
        {"step": 1, "d_real_acc": 0.5},
        {"step": 2, "d_real_acc": 1.0},
        {"step": 2, "val_d_real_acc": 0.25, "kid_efflite0": 3.0},
        {"step": 3, "d_real_acc": 1.0},
        {"step": 3, "val_d_real_acc": 0.75, "kid_efflite0": 2.0},
    ]
    for name, values in (("kid_efflite0", [3.0, 2.0]), ("d_real_gap", [0.5, 0.25])):
        found = learning_curve(rows, name, algorithm)
        np.testing.assert_array_equal(found.images, [2 * 384, 3 * 384])
        np.testing.assert_array_equal(found.values, values)
    assert len(learning_curve(rows, "fid_efflite0", algorithm).images) == 0
