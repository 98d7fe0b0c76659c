"""Tests of the benchmarks: what they compare, what they refuse, and what a failure leaves."""

import json
import sys
from itertools import cycle

import jax
import numpy as np
import pytest

from experiments.benchmarks import __main__ as benchmarks
from experiments.benchmarks import (
    clock,
    contender,
    conv,
    dispatch,
    flax_step,
    growth,
    job,
    loop,
    ours,
    pipeline,
    rows,
    start,
    table,
)
from ganjax import shipped
from ganjax.errors import UserError
from ganjax.models import layers
from ganjax.ops import convolutions as ops
from ganjax.pictures import images

TINY = {
    "batch_size": 2,
    "image_size": 16,
    "generator.widths": [4, 4],
    "discriminator.widths": [4, 4],
    "n_critic": 1,
}
RESIDUAL = TINY | {"image_size": 8, "generator.widths": [4], "discriminator.final_size": 4}
DENSE = {"batch_size": 4, "generator.widths": [8], "discriminator.widths": [8]}


def test_a_row_is_called_by_its_config_and_its_batch_size():
    for name, row in rows.ROWS.items():
        config, _, batch_size = name.removesuffix("/flax").partition("@")
        assert config == row.config
        loaded = ours.load(row.config, **row.fields).config
        assert loaded.batch_size == int(batch_size or ours.load(config).config.batch_size)


def test_the_pipeline_is_measured_on_records(tmp_path, monkeypatch):
    monkeypatch.setitem(pipeline.SCALES, "celeb_a", (40, 16))
    source = pipeline.open_scale("celeb_a", ours.load("dcgan:celeb_a").config, tmp_path)
    images = source.fetch(np.arange(40))["image"]
    expected = pipeline.noise(40, 16).fetch(np.arange(40))["image"]
    assert {x.tobytes() for x in images} == {x.tobytes() for x in expected}


def test_contenders_alternate():
    calls = []

    def steps(name, each):
        def run(count):
            calls.append((name, count))
            return [each] * count

        return run

    times = clock.alternate({"ganjax": steps("a", 1.0), "peer": steps("b", 2.0)}, 2, run=3)
    assert calls == [("a", 3), ("b", 3)] * 3  # The first round only warms up.
    assert times == {"ganjax": [1.0, 1.0], "peer": [2.0, 2.0]}
    assert len([took for took in clock.steps_of(lambda: None)(3) if took > 0]) == 3


def test_a_summary_has_medians_and_ratios():
    found = clock.summary({"ganjax": [1.0, 2.0, 6.0], "peer": [4.0, 2.0, 8.0]})
    assert found["seconds"]["peer"] == {
        "median": 4.0,
        "least": 2.0,
        "most": 8.0,
        "rounds": [4.0, 2.0, 8.0],
    }
    assert found["ratios"] == {"peer": {"of_medians": 0.5, "of_rounds": 0.75, "of_fastest": 0.5}}


def test_load_sets_fields_by_dotted_names():
    fields = {"n_critic": 2, "penalty.weight": 3.0, "augment": {"policy": "none"}}
    config = ours.load("wgan_gp", **fields).config
    assert (config.n_critic, config.penalty.weight) == (2, 3.0)
    # A group is replaced as a whole: this one's policy has other fields.
    assert ours.load("ada:emoji64", augment={"policy": "none"}).config.augment.policy == "none"
    for field, message in (
        ("n_critics", "n_critics=2: config=wgan_gp has no such field; did you mean n_critic"),
        ("growth.batch_sizes", "config=wgan_gp has no group growth"),
    ):
        with pytest.raises(UserError, match=message):
            ours.load("wgan_gp", **{field: 2})


@pytest.mark.parametrize("name", rows.ROWS)
def test_every_row_is_a_config(name):
    row = rows.ROWS[name]
    # As the job's process gets it.
    config = ours.load(row.config, **json.loads(json.dumps(row.fields))).config
    for field in row.fields.keys() & {"batch_size", "n_critic"}:
        assert getattr(config, field) == row.fields[field]


def test_every_point_of_growth_is_a_config():
    for point in rows.points():
        config = ours.load(rows.DCGAN, **rows.fields_of(**point)).config
        assert (config.batch_size, config.image_size) == (point["batch_size"], point["image_size"])
        assert config.generator.widths[-1] == config.discriminator.widths[0] == point["width"]
    base = ours.load(rows.DCGAN, **rows.fields_of(**rows.BASE)).config
    assert base == ours.load(rows.DCGAN, batch_size=32).config


@pytest.mark.slow
def test_flax_convolutions_make_the_same_parameters(monkeypatch):
    before = ops.conv, ops.conv_transpose, dict(layers.RESAMPLED)
    assert flax_step.check_equal("wgan_gp", TINY) < 1e-6
    assert flax_step.check_equal("sngan", RESIDUAL) < 1e-6
    assert (ops.conv, ops.conv_transpose, layers.RESAMPLED) == before

    lax_conv = flax_step._conv
    monkeypatch.setattr(flax_step, "_conv", lambda x, k, *args: lax_conv(x, 1.01 * k, *args))
    with pytest.raises(clock.Unequal, match=r"flax.linen's convolutions: the parameters differ"):
        flax_step.check_equal("wgan_gp", TINY)


def test_the_share_is_that_of_the_matrix_products_rate(monkeypatch):
    monkeypatch.setitem(conv.LAYERS, "64", (2, 2, [(8, 3, 4), (4, 4, 8)]))
    monkeypatch.setattr(conv, "SQUARE", 8)
    found = json.loads(json.dumps(conv.share(1)))
    assert list(found["maps"])[:3] == [f"8x8 3->4, 2, {name}" for name in conv.MAPS]
    assert found["share"] == pytest.approx(found["gflops"] / found["matmul_gflops"])
    rates = [each["gflops"] for each in found["maps"].values()]
    assert min(rates) <= found["gflops"] <= max(rates)


def test_a_map_counts_the_flop_of_its_definition():
    # 4x4 outputs of 2 images, each of 4x4 taps of 3 channels into 5.
    (flop,) = {conv.map_of(name, (8, 3, 5), 2, 2).flop for name in conv.MAPS}
    assert flop == 2 * 2 * 4 * 4 * 4 * 4 * 3 * 5


def test_ganjax_is_measured_alone(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        found = ours.alone("cgan", DENSE, str(tmp_path))
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert found["compile_seconds"] > 0
    assert found["peak_mib"] > 50
    assert found["step_seconds"] > 0
    assert found["batch_size"] == DENSE["batch_size"]


def test_a_job_is_a_process(capfd):
    fields = job.run("rows.fields_of", batch_size=2, width=8, image_size=16)
    assert fields["generator.widths"] == [16, 8]
    with pytest.raises(job.Failed, match=r"^TypeError: .*'width'.* \(exit status 1\)$"):
        job.run("rows.fields_of", batch_size=2, image_size=16)


def test_a_contender_that_ends_is_a_failure():
    with pytest.raises(job.Failed, match=r"TypeError: .*fields_of\(\) missing 2 required"):
        contender.start("rows.fields_of", batch_size=2)
    # It begins, but what it returns is no step.
    with contender.start("clock.steps_of", step=0) as found:
        assert found.hello == "ready"
        with pytest.raises(job.Failed, match=r"TypeError: .* missing 1 required"):
            found.steps(2)
    # It ends while it waits.
    with contender.start("clock.steps_of", step=0) as found:
        found._process.kill()
        found._process.wait()
        with pytest.raises(job.Failed, match="a contender ended with status -9"):
            found.steps(2)


@pytest.fixture
def jobs(monkeypatch):
    """Records jobs instead of running them; those in `failing` fail."""

    class Jobs:
        def __init__(self):
            self.ran, self.failing = [], set()
            self.peaks = {
                "ours.alone": cycle([1200.0, 1000.0, 1500.0, 1100.0]),
                "torch_alone.alone": cycle([900.0, 950.0, 800.0]),
            }

        def run(self, function, **fields):
            self.ran.append((function, fields))
            if function in self.failing:
                raise job.Failed("Unequal: g_loss is 1, ours is 2 (exit status 1)")
            if function == "conv.share":
                rate = {"gflops": 60.0, "matmul_gflops": 80.0}
                return rate | {"maps": {}, "share": 0.75, "share_of_processor_time": 0.7}
            if function == "loop.measure":
                parts = {"pictures": 0.01, "evaluation": 0.0, "checkpoints": 0.005, "figures": 0.25}
                return {"bare": 0.5, "stretch": 0.51, "parts": parts, "ratio": 1.05}
            if function == "torch_loop.beside":
                return {} if fields["config"] == "sngan" else {"bare": 1.0, "ratio": 1.25}
            if function == "torch_alone.alone":
                return {"peak_mib": next(self.peaks[function])}
            if function == "ours.alone":
                alone = {"compile_seconds": 5.0, "peak_mib": next(self.peaks[function])}
                return alone | {"step_seconds": 0.25, "batch_size": 32}
            found = clock.summary(
                {"ganjax": [0.5], "torch eager": [1.0], "torch channels_last": [2.0]}
            )
            found["batch_size"] = 32
            if function == "keras_step.compare":
                found |= {"versions": "TensorFlow 2.0, Keras 3.0", "peak_mib": {"keras": 700.0}}
            return found

    jobs = Jobs()
    monkeypatch.setattr(job, "run", jobs.run)
    return jobs


def test_a_row_measures_each_side_alone(jobs):
    row = rows.make("dcgan:celeb_a@32", 3, None)
    which = {"config": "dcgan:celeb_a", "fields": {"batch_size": 32}}
    (compare, asked), *alone = jobs.ran
    assert (compare, asked) == ("step.compare", {**which, "rounds": 3})
    cold, warm, *peers = alone[0], alone[1 : 1 + rows.PEAKS], *alone[1 + rows.PEAKS :]
    # The others find what the first has compiled.
    assert warm == [cold] * rows.PEAKS
    assert cold[0] == "ours.alone"
    contenders = [name for name in rows.CONVOLUTIONAL for _ in range(rows.PEAKS)]
    assert [fields["contender"] for _, fields in peers] == contenders
    assert row["compile_seconds"] == {"cold": 5.0, "warm": 5.0}
    assert row["peak_mib"] == {
        "ganjax, cold": 1200.0,
        "ganjax, warm": 1100.0,
        "torch eager": 900.0,
        "torch channels_last": 900.0,
    }


def test_a_row_without_a_peer_is_ganjax_alone(jobs):
    row = rows.make("sngan", 3, None)
    assert {function for function, _ in jobs.ran} == {"ours.alone"}
    assert "error" not in row
    assert table._step("sngan", row) == ("| `sngan` | 32 | 0.250 |  | 5.0, 5.0 | 1,200, 1,100 |  |")


def test_a_row_of_keras_needs_its_python(jobs):
    assert rows.make("ada:emoji64@32", 1, None)["error"] == "not measured: no --keras_python"
    assert not jobs.ran
    row = rows.make("ada:emoji64@32", 1, "venv/bin/python")
    asked = {"python": "venv/bin/python", "batch_size": 32, "rounds": 1}
    assert jobs.ran[0] == ("keras_step.compare", asked)
    assert row["peak_mib"].keys() == {"keras", "ganjax, cold", "ganjax, warm"}


def test_a_failure_is_in_its_row_and_the_next_goes_on(jobs, tmp_path, capsys):
    flax, keras = "dcgan:celeb_a@32/flax", "ada:emoji64@32"
    jobs.failing.add("flax_step.compare")
    benchmarks.main(
        [f"--out={tmp_path}", f"--rows={flax},{keras},wgan_gp@64,convolutions", "--rounds=1"]
    )
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "benchmarks.md").read_text()
    found = {line.split("|")[1].strip(): line for line in printed.splitlines() if "|" in line}
    error = "Unequal: g_loss is 1, ours is 2 (exit status 1)"
    assert f"| {error} |" in found[f"`{flax}`"]
    assert "| not measured: no --keras_python |" in found[f"`{keras}`"]
    assert found["`wgan_gp@64`"] == (
        "| `wgan_gp@64` | 32 | 0.500 | torch eager 1.00 (0.50); torch channels_last 2.00 (0.25) "
        "| 5.0, 5.0 | 1,200, 1,100 | torch eager 900; torch channels_last 900 |"
    )
    assert "60 GFLOP/s, 0.75 of the matrix product's 80 in the same run" in printed
    results = json.loads((tmp_path / "benchmarks.json").read_text())
    assert results["rows"][flax]["error"] == error
    assert results["versions"]["jax"] == jax.__version__
    assert results.keys() >= {"date", "processor", "threads", "load_before"}


def test_growth_is_a_table_and_a_plot(jobs, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    benchmarks.main([f"--out={tmp_path}", "--rows=", "--growth", "--rounds=1"])
    assert "| 128 | 64 | 64 | 0.500 | 1.00 | 0.50 |" in capsys.readouterr().out
    assert (tmp_path / "growth.svg").read_text().count("<path") > 10
    (function,) = {function for function, _ in jobs.ran}
    assert function == "step.compare"
    axes = [len(values) - 1 for values in rows.GROWTH.values()]
    assert len(jobs.ran) == 1 + sum(axes)


def test_every_shipped_default_has_a_loop(jobs, tmp_path, capsys):
    assert set(rows.LOOPS) == set(shipped.config_names())
    benchmarks.main([f"--out={tmp_path}", "--rows=", "--loops", "--processor"])
    out = capsys.readouterr().out
    assert (
        "| `wgan_gp` | 0.500 | 1.050 | 2.0 | 2.0 | 0.0 | 1.0 | 50.0 | 1.00 | 1.250 | 0.42 |" in out
    )
    assert "| `sngan` | 0.500 | 1.050 | 2.0 | 2.0 | 0.0 | 1.0 | 50.0 |  |  |  |" in out
    assert all(fields["processor"] for _, fields in jobs.ran)
    jobs.failing.add("torch_loop.beside")
    results = json.loads((tmp_path / "benchmarks.json").read_text())
    text = table.markdown({**results, "loops": {"wgan": rows.loop("wgan", False)}})
    assert "| `wgan` | 0.500 | 1.050 |" in text  # A peer that fails takes nothing from ours.
    assert "| Unequal: g_loss is 1" in text
    jobs.failing.add("loop.measure")
    assert "g_loss is 1" in table.markdown(
        {
            **json.loads((tmp_path / "benchmarks.json").read_text()),
            "loops": {"a": rows.loop("wgan", False)},
        }
    )


def test_the_command_measures_a_growing_network_at_its_last_resolution(monkeypatch, capsys):
    def measure(config, fields, rounds, processor, cache):
        loaded = ours.load(config, **fields)
        algorithm = loaded.module.build(loaded.config)
        (phase,) = algorithm.phases
        batch = ours.random_batch(loaded, algorithm)
        assert batch["image"].shape[2:4] == phase.size == (32, 32)
        return {"bare": 0.5, "stretch": 0.51, "parts": {loop.FIGURES: 0.0}, "ratio": 1.02}

    monkeypatch.setattr(loop, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["loop", "--config=progan"])
    loop.main()
    assert "the loop 1.020 of it" in capsys.readouterr().out


def test_a_random_batch_of_tags_has_what_a_step_reads():
    loaded = ours.load("tagging", batch_size=3)
    algorithm = loaded.module.build(loaded.config)
    batch = ours.random_batch(loaded, algorithm)
    data, rows_of = loaded.config.data, (algorithm.real_batches, 3)
    assert {name: leaf.shape for name, leaf in batch.items()} == {
        "feature": (*rows_of, data.feature_dim),
        "vector": (*rows_of, data.vector_dim),
    }
    assert all(leaf.dtype == np.float32 and leaf.std() > 0.5 for leaf in batch.values())


@pytest.mark.slow
def test_the_loop_and_dispatches_are_measured(monkeypatch):
    monkeypatch.setattr(loop, "STRETCH_SECONDS", 0.01)
    fields = DENSE | {"batch_size": 8, "evaluation.metrics": [], "evaluation.best": "none"}
    found = loop.measure("cgan", fields, 2)
    assert found["bare"] > 0
    assert found["ratio"] > 0.5
    assert found["parts"].keys() == set(table.LOOP_PARTS) - {"data and logging"}
    found = dispatch.measure("cgan", fields, rounds=1, count=2)
    assert min(found["2"].values()) > 0
    assert len(dispatch.lines(found)) == 3


def test_a_process_is_stopped_when_it_has_said_what_is_waited_for(tmp_path):
    program = "import os, time; print(os.environ['GANJAX_BENCHMARK_STARTED']); time.sleep(60)"
    lines = []
    start.spawned([sys.executable, "-c", program], tmp_path, lambda *line: not lines.append(line))
    ((text, seconds),) = lines
    assert float(text) > 0
    assert 0 < seconds < 60


def test_points_that_failed_are_not_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    points = [{**rows.BASE, "error": "killed"}]
    assert "| 32 | 64 | 64 | killed |" in "\n".join(table._growth(points))
    table.plot(points, tmp_path / "growth.png")


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit):
        benchmarks.main(["--rows=dcgan"])
    assert "'dcgan': there are dcgan:celeb_a@32, dcgan:celeb_a@128" in capsys.readouterr().err


@pytest.mark.torch
def test_a_step_is_compared_with_pytorch(monkeypatch):
    pytest.importorskip("torch")
    from experiments.benchmarks import step

    found = step.compare("cgan", DENSE, 1, only=["torch eager"])
    assert found["seconds"].keys() == {"ganjax", "torch eager"}
    assert min(each["least"] for each in found["seconds"].values()) > 0
    assert found["difference"]["torch eager"] < 1e-12
    assert found["ratios"].keys() == {"torch eager"}
    monkeypatch.setattr(step, "TOLERANCE", 0.0)
    with pytest.raises(clock.Unequal, match=r"torch eager: \w+ is .*, ours is"):
        step.check_equal("cgan", DENSE, ["torch eager"])


@pytest.mark.torch
def test_pytorch_is_measured_alone():
    pytest.importorskip("torch")
    found = job.run("torch_alone.alone", config="cgan", fields=DENSE, contender="torch eager")
    assert found["peak_mib"] > 50


@pytest.mark.torch
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config=sngan"], "config.loss='hinge' with config.discriminator.network='resnet': PyT"),
        (["--config=dcgan", "--set", "targets.noise=0.1"], "config.targets.noise=0.1: PyTorch's"),
        (["--config=dcgam"], "--config=dcgam: configs/ has no dcgam.py, but ada, cgan"),
    ],
)
def test_what_has_no_peer_is_refused_in_one_line(flags, message, monkeypatch, capsys):
    pytest.importorskip("torch")
    from experiments.benchmarks import step

    monkeypatch.setattr("sys.argv", ["step", *flags])
    with pytest.raises(SystemExit):
        step.main()
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_config_that_does_not_grow_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["growth", "--config=wgan_gp"])
    with pytest.raises(SystemExit):
        growth.main()
    assert "config=wgan_gp has no group growth" in capsys.readouterr().err.splitlines()[-1]


def test_growing_is_compared_with_full_resolution_from_the_start(monkeypatch, capsys):
    """The table has each resolution's share, their sum, and the last resolution from the start."""
    seconds = {4: 1.0, 8: 2.0, 16: 4.0, 32: 8.0}

    def fake(loaded, count):
        phases = loaded.module.build(loaded.config).phases
        return {phase: seconds[phase.image_size] for phase in phases}

    monkeypatch.setattr(growth, "seconds_a_step", fake)
    growth.timed("progan", 1)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    cells = [[cell.strip().replace(",", "") for cell in row] for row in rows]
    *grown, every, whole = cells
    assert [row[0] for row in grown] == ["4x4", "8x8", "16x16", "32x32"]
    reals = sum(int(row[3]) for row in grown)
    assert int(every[3]) == int(whole[3]) == reals
    assert int(every[4]) == sum(int(row[4]) for row in grown)
    # At 32x32 a batch of 16 in 8 seconds.
    assert float(whole[4]) == pytest.approx(reals / 2, abs=1)


def test_the_python_of_keras_is_one_of_the_current_folder(monkeypatch, tmp_path, capsys):
    """Every job runs in the repository's folder, from which a relative path would lead astray."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert clock.program("venv/bin/python") == str(python)
    with pytest.raises(SystemExit):
        benchmarks.main(["--keras_python=nowhere/python"])
    assert "--keras_python: 'nowhere/python': there is no such program" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_rounds_are_1_or_more(value, capsys):
    with pytest.raises(SystemExit):
        benchmarks.main([f"--rounds={value}"])
    assert f"--rounds: {value!r}: give a whole number from 1 to" in capsys.readouterr().err


@pytest.mark.torch
def test_a_loop_of_pytorch_is_measured(monkeypatch):
    pytest.importorskip("torch")
    from experiments.benchmarks import torch_loop

    monkeypatch.setattr(loop, "STRETCH_SECONDS", 0.01)
    drawn, save = [], images.save_png
    monkeypatch.setattr(
        images, "save_png", lambda path, image: drawn.append(image) or save(path, image)
    )
    fields = DENSE | {"batch_size": 8, "log_every": 5}
    found = torch_loop.beside("cgan", fields, rounds=1, processor=True)
    assert found["contender"] == "torch eager"
    assert found["bare"] > 0
    assert found["ratio"] > 0.5
    assert found["parts"].keys() == {"pictures", "checkpoints"}
    assert len(drawn) == 2
    assert drawn[-1].std() > 0
    assert torch_loop.beside("sngan", {}) == {}
