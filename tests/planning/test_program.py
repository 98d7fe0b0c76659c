"""What is read from a compiled program: the collectives of its devices."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ganjax.parallel.sharding import make_layout
from ganjax.planning import program
from ganjax.planning.times import Collective


def test_collectives_are_counted_by_kind():
    """The program has one of each of four kinds."""
    layout = make_layout()
    split = layout.batch

    def collective(x):
        gathered = jax.lax.all_gather(x, "data", tiled=True)
        return (
            jax.lax.psum(x.sum(0), "data"),
            jax.lax.psum_scatter(gathered, "data", tiled=True),
            jax.lax.ppermute(x, "data", [(i, (i + 1) % 8) for i in range(8)]),
        )

    mapped = jax.shard_map(
        collective, mesh=layout.mesh, in_specs=P("data"), out_specs=(P(), P("data"), P("data"))
    )
    x = jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=NamedSharding(layout.mesh, split.spec))
    found = program.collectives(jax.jit(mapped).lower(x).compile().as_text())
    assert found == {
        "all-gather": Collective(1, 16 * 4 * 4),
        "all-reduce": Collective(1, 4 * 4),
        "reduce-scatter": Collective(1, 16 * 4 * 4),
        "collective-permute": Collective(1, 2 * 4 * 4),
    }


HLO = """
%sum (x: f32[], y: f32[]) -> f32[] {
  ROOT %add = f32[] add(%x, %y)
}

%body (p: (s32[], f32[8,3])) -> (s32[], f32[8,3]) {
  %all-reduce.1 = (f32[8,3]{1,0}, bf16[5]{0}) all-reduce(%a, %b), to_apply=%sum
}

ENTRY %main (e: f32[2]) -> f32[2] {
  ROOT %r = f32[] all-reduce(%c), channel_id=2, to_apply=%sum
  %w = (s32[], f32[8,3]) while(%t), body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %ars = f32[10]{0:T(256)S(1)} all-reduce-start(%d), replica_groups=[1,8]<=[8], to_apply=%sum
  %ard = f32[10]{0:T(256)S(1)} all-reduce-done(%ars)
  %ags = (f32[2]{0}, f32[16]{0}) all-gather-start(%e), dimensions={0}
  %rs = f32[2]{0} reduce-scatter(%f), replica_groups=mesh['a'=8,'b'=1] {'a'}, to_apply=%sum
  %not.1 = f32[4]{0} add(%x, %all-reduce.1)
}
"""


def test_programs_for_accelerators_are_read_too():
    """Their compilers write tuples, layouts, asynchronous pairs and loops."""
    assert program.collectives(HLO) == {
        "all-reduce": Collective(5 + 2, 5 * (8 * 3 * 4 + 5 * 2) + 4 + 40),
        "all-gather": Collective(1, 64),
        "reduce-scatter": Collective(1, 64),
    }
