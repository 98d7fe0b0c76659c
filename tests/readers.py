"""A program that reads an epoch as one of two processes; test_processes.py runs it.

    python tests/readers.py <port> <process> <data config as JSON> <out>

It writes the indices that this process read, and the images that its two devices got, to <out>.
"""

import sys

import jax
import numpy as np

from ganjax.data import pipeline
from ganjax.data.fields import DataFields
from ganjax.data.sources import open_source
from ganjax.engine.phases import Phase
from ganjax.parallel.sharding import make_layout

BATCH, STEPS = 60, 75


def main(port: str, process: str, config: str, out: str) -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(f"localhost:{port}", 2, int(process))
    source = open_source(DataFields.model_validate_json(config), "train", image_size=28)
    read = []
    recording = source._replace(fetch=lambda i: read.append(i) or source.fetch(i))
    phase = Phase(0, STEPS, BATCH, 28)
    layout = make_layout()
    options = {"seed": 3, "reals": 1, "start": 0, "sharding": layout.batches}
    mine = []
    for batch in pipeline.train_batches(recording, phase, **options):
        assert batch["image"].shape == (1, BATCH, 28, 28, 1)
        shards = sorted(batch["image"].addressable_shards, key=lambda shard: shard.index[1].start)
        mine += [np.asarray(shard.data)[0] for shard in shards]
    np.savez(out, read=np.concatenate(read), images=np.concatenate(mine))


if __name__ == "__main__":
    main(*sys.argv[1:])
