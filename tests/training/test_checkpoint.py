"""Checkpoints: the format that each says, and those that cannot be read."""

import errno
import json
import os
import random
import resource
import shutil
import sys
import threading
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from initial import initial
from small import shipped, shrink

from ganjax.engine.state import Ema, GanState, Player
from ganjax.engine.step import init_state
from ganjax.parallel.sharding import make_layout
from ganjax.training import checkpoint, checkpoint_folders, orbax, quiet, schema, stored
from ganjax.training.checkpoint import init_program
from ganjax.training.migrations import FORMAT

KERNEL = {"kernel": jnp.arange(4.0)}
PLAYER = Player(KERNEL, (), {})
STATE = GanState(jnp.int32(3), PLAYER, PLAYER, Ema(KERNEL, {}), ())


def init(key):
    return jax.tree.map(jnp.zeros_like, STATE)


@pytest.mark.slow
def test_the_program_of_an_initial_state_computes_its_operations():
    """The run of a command has the program, where runs of tests take the operations one by one."""
    config = shrink(shipped("sngan"))
    loaded, module = schema.load(config)
    init, key = partial(init_state, module.build(loaded)), jax.random.key(3)
    whole, single = init_program(init, make_layout().replicated)(key), initial(init, key)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), whole, single)
    types = [jax.tree.map(lambda leaf: leaf.dtype, state) for state in (whole, single)]
    assert types[0] == types[1]
    assert all(kernel.std() > 0 for kernel in jax.tree.leaves(whole.g.params) if kernel.ndim == 4)


def saved(folder):
    """The checkpoints of a folder to which one of step 3 has been saved."""
    with checkpoint.open_checkpoints(folder, keep=1) as checkpoints:
        checkpoint.save(checkpoints, 3, STATE, {}, {})
    return checkpoint.open_checkpoints(folder)


def at(step):
    """A state of a step."""
    return STATE.replace(step=jnp.int32(step))


def saved_steps(folder, *steps, **figures):
    """The checkpoints of a folder to which states of several steps have been saved."""
    with checkpoint.open_checkpoints(folder, keep=9) as checkpoints:
        for step in steps:
            checkpoint.save(checkpoints, step, at(step), figures, {})
    return folder / checkpoint.FOLDER


def restored(checkpoints, steps=None):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return checkpoint.restore_or_init(checkpoints, init, jax.random.key(0), sharding, steps)


def equal(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def flip(file, position, bit=0):
    """Flips a bit of a file."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


@pytest.fixture
def _impatient(monkeypatch):
    """Lets readers not wait for a run that removes what they read."""
    monkeypatch.setattr(checkpoint_folders, "LOOKS", 1)
    monkeypatch.setattr(checkpoint_folders, "PAUSE", 0.0)


def test_a_checkpoint_says_the_format_of_this_version(tmp_path):
    with saved(tmp_path) as checkpoints:
        assert checkpoint.stored_format(tmp_path / checkpoint.FOLDER / "3") == FORMAT
        jax.tree.map(np.testing.assert_array_equal, restored(checkpoints), STATE)


def test_a_save_spends_no_time_on_compression(tmp_path):
    ones = jnp.ones(1 << 18)  # Compressed they would take next to nothing.
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoint.save(checkpoints, 3, STATE.replace(aug=ones), {}, {})
    files = [each for each in (tmp_path / checkpoint.FOLDER).rglob("*") if each.is_file()]
    assert sum(each.stat().st_size for each in files) > ones.nbytes


@pytest.mark.parametrize("number", [FORMAT + 1, "three"])
def test_a_checkpoint_of_a_newer_format_is_refused_in_one_line(tmp_path, monkeypatch, number):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", number)
        patch.setattr(orbax.Checkpoints, "_read_back", lambda *_: None)
        checkpoints = saved(tmp_path)
    message = (
        rf"checkpoints/3 is of format {number!r}: this version of ganjax reads checkpoints of "
        rf"formats 1 to {FORMAT}; take a newer ganjax$"
    )
    with checkpoints, pytest.raises(checkpoint.CheckpointError, match=message) as caught:
        restored(checkpoints)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_before_there_were_formats_is_restored(tmp_path):
    from orbax.checkpoint import v1 as ocp

    with ocp.training.Checkpointer(str(tmp_path / checkpoint.FOLDER)) as older:
        older.save(3, STATE, metrics={"kid_efflite0": 1.5})
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        assert checkpoints.figures() == {3: {"kid_efflite0": 1.5}}
        assert checkpoint.stored_format(tmp_path / checkpoint.FOLDER / "3") == 1
        jax.tree.map(np.testing.assert_array_equal, restored(checkpoints), STATE)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda path: shutil.rmtree(path / "state"), "state is missing"),
        (lambda path: (path / "state" / "_METADATA").unlink(), "state/_METADATA is missing"),
        (
            lambda path: (path / "state" / "_METADATA").write_text("[" * 10**5),
            "state/_METADATA is damaged",
        ),
        (lambda path: flip(path / "state" / "manifest.ocdbt", 40), "state/manifest.ocdbt is dam"),
        (lambda path: shutil.rmtree(path / "state" / "d"), r"state/d/\w+ is damaged or missing"),
        (lambda path: (path / checkpoint.METADATA).unlink(), f"{checkpoint.METADATA} is missing"),
        (
            lambda path: (path / checkpoint.METADATA).write_text("{" * 10**5),
            f"{checkpoint.METADATA} is damaged",
        ),
    ],
)
@pytest.mark.usefixtures("_impatient")
def test_a_damaged_checkpoint_is_refused_in_one_line_that_names_the_cause(
    tmp_path, capfd, damage, cause
):
    with saved(tmp_path) as checkpoints:
        damage(tmp_path / "checkpoints" / "3")
        message = rf"checkpoints/3 cannot be read: {cause}.*; restore it from a copy, or take ano"
        with pytest.raises(checkpoint.CheckpointError, match=message) as caught:
            restored(checkpoints)
    assert "\n" not in str(caught.value)
    assert "remove" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_an_array_that_cannot_be_unpacked_is_named(tmp_path):
    """As one process's part of an array that is split over several may be."""
    path = saved_steps(tmp_path, 3) / "3"
    error = ValueError(
        'FAILED_PRECONDITION: Error reading shard entry {0, 0}/{1, 1} in "g.nu.kernel/c/0/1" in '
        f'OCDBT database at local file "{path}/state/": ZSTD_decompressStream() failed'
    )
    assert stored.cause(path, error) == "state: the array g.nu.kernel is damaged"


@pytest.mark.usefixtures("_impatient")
def test_no_bit_that_flips_in_a_checkpoint_changes_what_is_loaded(tmp_path):
    folder = saved_steps(tmp_path, 3, kid_efflite0=1.5)
    drawn = random.Random(0)
    refused = 0
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        before = file.read_bytes()
        for _ in range(2):
            flip(file, drawn.randrange(len(before)), drawn.randrange(8))
            try:
                with checkpoint.open_checkpoints(tmp_path) as checkpoints:
                    state = restored(checkpoints)
                    assert checkpoint.window(checkpoints) == {}
                    assert checkpoints.figures() == {3: {"kid_efflite0": 1.5}}
            except checkpoint.CheckpointError:
                refused += 1
            else:
                assert equal(state, at(3)), file
            file.write_bytes(before)
    assert refused > 4


def test_a_value_that_changed_on_the_disk_is_named(tmp_path, monkeypatch):
    kernel = KERNEL["kernel"].at[2].add(1e-6)
    changed = STATE.replace(ema=Ema({"kernel": kernel}, {}))
    of_state = orbax.checksums.of_state
    with monkeypatch.context() as patch:
        patch.setattr(orbax.checksums, "of_state", lambda state: of_state(changed))
        patch.setattr(orbax.Checkpoints, "_read_back", lambda *_: None)
        checkpoints = saved(tmp_path)
    message = (
        "checkpoints/3 is damaged: ema/params/kernel: its values are not those that were saved"
    )
    with checkpoints, pytest.raises(checkpoint.CheckpointError, match=message):
        restored(checkpoints)


@pytest.mark.usefixtures("_impatient")
def test_a_checkpoint_of_another_state_is_not_taken_for_a_damaged_one(tmp_path, monkeypatch):
    folder = saved_steps(tmp_path, 3)
    other = STATE.replace(ema=Ema({"kernel": jnp.zeros(4, jnp.bfloat16)}, {}))
    monkeypatch.setitem(globals(), "init", lambda key: other)
    message = "3 holds another state .*: ema/params/kernel: it was saved as float32 .4,., not bfl"
    with (
        checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints,
        pytest.raises(checkpoint.CheckpointError, match=message),
    ):
        restored(checkpoints)
    assert [path.name for path in folder.iterdir()] == ["3"]


@pytest.mark.usefixtures("_impatient")
def test_a_reader_takes_the_checkpoint_before_a_damaged_one_and_says_so(tmp_path, capsys):
    folder = saved_steps(tmp_path, 3, 6)
    flip(folder / "6" / checkpoint.METADATA, 300)
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        assert checkpoint.candidates(checkpoints, "last", "none") == [6, 3]
        assert checkpoint.candidates(checkpoints, "6", "none") == [6]
        assert equal(restored(checkpoints, [6, 3]), at(3))
    said = capsys.readouterr().err
    assert f"{folder / '6'} cannot be read: {checkpoint.METADATA} is damaged; step 3 is t" in said
    assert (folder / "6").exists()


def test_a_run_goes_on_from_before_a_damaged_checkpoint_and_keeps_that(tmp_path, capsys):
    folder = saved_steps(tmp_path, 3, 6)
    shutil.rmtree(folder / "6" / "state")
    with checkpoint.open_checkpoints(tmp_path, keep=2) as checkpoints:
        assert equal(restored(checkpoints), at(3))
        assert "it is kept as 6.damaged; step 3 is taken instead" in capsys.readouterr().err
        checkpoint.save(checkpoints, 6, at(6), {}, {})
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        assert equal(restored(checkpoints), at(6))
    assert sorted(path.name for path in folder.iterdir()) == ["3", "6", "6.damaged"]


def test_a_checkpoint_of_a_renamed_folder_is_not_taken_for_another_step(tmp_path):
    folder = saved_steps(tmp_path, 3)
    (folder / "3").rename(folder / "1000")
    with (
        checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints,
        pytest.raises(checkpoint.CheckpointError, match="1000 holds the state of step 3: name"),
    ):
        restored(checkpoints)


@pytest.mark.parametrize("name", ["lr[1e-4]", "a*", "**", "what?", "a\\b"])
def test_a_folder_whose_name_looks_like_a_pattern_is_written_and_read(tmp_path, name):
    with saved(tmp_path / name) as checkpoints:
        assert equal(restored(checkpoints), at(3))
    assert (tmp_path / name / "checkpoints" / "3").is_dir()


def test_the_first_checkpoint_of_a_process_is_read_back_before_it_goes_on(tmp_path, monkeypatch):
    end = orbax._end

    def damaging(response, path):
        end(response, path)
        shutil.rmtree(path / "state" / "d")

    monkeypatch.setattr(orbax, "_end", damaging)
    with (
        checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints,
        pytest.raises(
            checkpoint.SaveError, match=r"state/d/.*missing; it was written a moment ago"
        ),
    ):
        checkpoint.save(checkpoints, 3, STATE, {}, {})


def test_a_reader_begins_anew_when_the_run_removes_what_it_reads(tmp_path, monkeypatch):
    folder = saved_steps(tmp_path, 3)
    load = orbax.Checkpoints._load

    def racing(self, path, target):
        if path.name == "3":  # The run saves step 6 and removes step 3 meanwhile.
            saved_steps(tmp_path, 6)
            shutil.rmtree(folder / "3")
        return load(self, path, target)

    def read():
        with checkpoint.open_checkpoints(tmp_path) as checkpoints:
            return restored(checkpoints, checkpoint.candidates(checkpoints, "last", "none"))

    with monkeypatch.context() as patch:
        patch.setattr(orbax.Checkpoints, "_load", racing)
        assert equal(checkpoint.undisturbed(read), at(6))


def test_a_full_disk_is_one_line_with_what_is_needed_and_which_step_is_safe(tmp_path, capfd):
    kernel = jax.random.normal(jax.random.key(0), (1 << 16,))
    large = at(6).replace(ema=Ema({"kernel": kernel}, {}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoint.save(checkpoints, 3, at(3), {}, {})
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
            message = (
                r"checkpoints/6 could not be saved: the disk is full or a limit is reached; it "
                r"needs up to 262,180 bytes, and [\d,]+ are free; step 3 is safe. Make room"
            )
            checkpoint.save(checkpoints, 6, large, {}, {})
            with pytest.raises(checkpoint.SaveError, match=message) as caught:
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [3]
        assert equal(restored(checkpoints), at(3))


def test_a_failed_save_advises_to_make_room_only_where_there_is_none(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(orbax, "_end", fail)
    with (
        checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints,
        pytest.raises(
            checkpoint.SaveError, match=r"saved: \[Errno 5\] .*; no .* When that is mend"
        ),
    ):
        checkpoint.save(checkpoints, 3, at(3), {}, {})


@pytest.mark.parametrize("silently", [quiet.saving, quiet.loading])
def test_what_tensorstore_says_of_what_has_failed_is_not_printed(monkeypatch, silently):
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: shown.append(str(error)))
    monkeypatch.setattr(sys, "unraisablehook", lambda each: shown.append(str(each.exc_value)))
    before = sys.excepthook, sys.unraisablehook

    def say(text):
        error = RuntimeError(text)
        sys.excepthook(RuntimeError, error, None)
        sys.unraisablehook(SimpleNamespace(exc_value=error))

    for failed in (False, True):
        with silently(lambda failed=failed: failed):
            sys.excepthook(RuntimeError, RuntimeError(quiet.LOOP_IS_CLOSED), None)
            sys.excepthook(RuntimeError, RuntimeError("another"), None)
        assert ((sys.excepthook, sys.unraisablehook) == before) != failed, "threads outlive it"
    say(quiet.LOOP_IS_CLOSED)
    say("another, later")
    assert shown == ["another"] * 2 + ["another, later"] * 2


def test_a_full_disk_elsewhere_names_the_file_and_the_step_that_is_safe(tmp_path):
    saved_steps(tmp_path, 3)
    message = r"metrics.jsonl: No space left on device; step 3 is safe. Make room, and the same"
    with (
        checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints,
        pytest.raises(checkpoint.SaveError, match=message),
        orbax.naming_full_disk(checkpoints),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.jsonl")


def test_damaged_figures_of_an_older_version_block_nothing(tmp_path, capsys):
    folder = tmp_path / checkpoint.FOLDER
    from orbax.checkpoint import v1 as ocp

    with ocp.training.Checkpointer(str(folder)) as older:
        for step in (3, 6):
            older.save(
                step, at(step), metrics={"kid_efflite0": step}, custom_metadata={"format": 1}
            )
    (folder / "3" / "metrics" / "metrics").write_text("{" * 10**5)
    with checkpoint.open_checkpoints(tmp_path, keep=3, best="kid_efflite0") as checkpoints:
        assert checkpoints.figures() == {3: {}, 6: {"kid_efflite0": 6}}
        checkpoint.save(checkpoints, 9, at(9), {"kid_efflite0": 9}, {})
    assert "metrics is damaged: step 3 counts as not evaluated" in capsys.readouterr().err
    assert sorted(stored.figures(path).get("kid_efflite0", 0) for path in folder.iterdir()) == [
        0,
        6,
        9,
    ]


@pytest.mark.slow
def test_160_saves_leave_no_file_thread_or_memory_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(orbax.storage, "sync", lambda path: None)

    def used():
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        return len(os.listdir("/proc/self/fd")), threading.active_count(), pages

    at_step = {}
    with checkpoint.open_checkpoints(tmp_path, keep=1) as checkpoints:
        for step in range(1, 161):
            checkpoint.save(checkpoints, step, at(step), {}, {})
            if step in (40, 160):
                checkpoints.wait()
                at_step[step] = used()
    files, threads, pages = zip(*at_step.values(), strict=True)
    assert files[1] <= files[0] + 3
    assert threads[1] <= threads[0] + 3
    assert pages[1] * resource.getpagesize() <= pages[0] * resource.getpagesize() + 8 * 2**20


def test_a_checksum_finds_every_changed_bit_and_pages_that_changed_places():
    array = np.random.RandomState(0).randn(3000).astype(np.float32)
    first = orbax.checksums.checksum(array)
    assert orbax.checksums.checksum(array.copy()) == first
    data = array.view(np.uint8)
    for position in (0, 4095, 4096, 11_999):
        for bit in range(8):
            data[position] ^= 1 << bit
            assert orbax.checksums.checksum(array) != first
            data[position] ^= 1 << bit
    data[:8192] = np.roll(data[:8192], 4096)
    assert orbax.checksums.checksum(array) != first


@pytest.mark.parametrize("split", [(8, 1), (4, 2), (2, 4), (1, 1)])
def test_a_state_that_was_saved_split_is_checked_in_any_layout(split):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    array = jnp.arange(64.0).reshape(8, 8)
    saved_as = jax.device_put(array, jax.sharding.NamedSharding(mesh, spec("d")))
    found = json.loads(json.dumps(orbax.checksums.of_state({"w": saved_as})))
    assert len(found["w"][2]) == 8
    other = jax.make_mesh(split, ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    placed = jax.sharding.NamedSharding(other, spec("a", "b"))
    orbax.checksums.check({"w": jax.device_put(array, placed)}, found)
    with pytest.raises(orbax.checksums.ChecksumError, match="w: its values are not those"):
        orbax.checksums.check({"w": jax.device_put(array.at[7, 7].set(0), placed)}, found)
