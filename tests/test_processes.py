"""Two real processes, joined by jax.distributed, read one epoch: each its own part of it."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import DATA, ROOT

from ganjax.config import DataConfig
from ganjax.data import pipeline
from ganjax.data.sources import open_source


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("localhost", 0))
        return each.getsockname()[1]


@pytest.mark.slow
def test_the_union_of_two_processes_is_one_epoch(tmp_path):
    port = free_port()
    data = DataConfig(source="embedded:mnist5k", **DATA | {"channels": 1})
    outs = [tmp_path / f"{i}.npz" for i in range(2)]
    command = [sys.executable, "tests/readers.py", str(port)]
    children = [
        subprocess.Popen(
            [*command, str(i), data.model_dump_json(), str(out)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for i, out in enumerate(outs)
    ]
    try:
        assert [child.wait(timeout=120) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    parts = [np.load(out) for out in outs]
    size = 4_500
    assert [len(part["read"]) for part in parts] == [size // 2] * 2
    every = np.concatenate([part["read"] for part in parts])
    assert sorted(every.tolist()) == list(range(size))
    # And what they read are the two halves of every batch, in the order of one process.
    order = pipeline.order(3, 0, size, 0, size).reshape(-1, 2, 30)
    source = open_source(data, "train", image_size=28)
    for i, part in enumerate(parts):
        expected = source.fetch(order[:, i].reshape(-1))["image"]
        np.testing.assert_array_equal(part["images"], expected)
