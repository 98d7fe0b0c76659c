"""Tests of sweeps as data: how cells combine, what is refused, and how runs are recognised."""

import json
import math

import pytest
from conftest import ROOT

from experiments.tools import design, jobs, results, runs
from experiments.tools.design import Sweep, axis, chain, product, zip_
from ganjax.errors import UserError
from ganjax.training import workdir

LIKELIHOOD = {"evaluation.log_likelihood": 20, "evaluation.best": "val_log_likelihood"}


def sweep(**own):
    return Sweep(
        question="?",
        base="configs/wgan_gp.py",
        fixed=LIKELIHOOD,
        cells=axis("n_critic", [1, 3]),
        metric="val_log_likelihood",
        baseline={"n_critic": "3"},
        seeds=2,
    )._replace(**own)


def overrides(cells):
    return [cell.overrides for cell in cells]


def test_cells_are_put_together():
    a, b = axis("a", [1, 2]), axis("b", {"x": {"b.c": 3}, "y": {"b.c": 4, "d": 5}})
    assert overrides(product(a, b)) == [
        {"a": 1, "b.c": 3},
        {"a": 1, "b.c": 4, "d": 5},
        {"a": 2, "b.c": 3},
        {"a": 2, "b.c": 4, "d": 5},
    ]
    assert overrides(zip_(a, b)) == [{"a": 1, "b.c": 3}, {"a": 2, "b.c": 4, "d": 5}]
    assert product(a, b)[3].label == "a 2, b y"
    assert overrides(chain(a, axis("a", [7]))) == [{"a": 1}, {"a": 2}, {"a": 7}]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: product(axis("a", [1]), axis("a", [2])), "axis 'a' comes twice"),
        (
            lambda: product(axis("a", [1]), axis("x", {"y": {"a.b": 2}})),
            "a and a.b are both set in a cell",
        ),
        (lambda: zip_(axis("a", [1]), axis("b", [1, 2])), "zip_: [1, 2] cells"),
        (lambda: chain(axis("a", [1]), axis("b", [1])), "chain: axes ['a'] and ['b']"),
    ],
)
def test_cells_that_do_not_go_together_are_refused(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            {"cells": axis("n_critik", [1, 2]), "baseline": {}},
            "configs/wgan_gp.py has no such field; did",
        ),
        (
            {"cells": axis("emma.decay", [0.0]), "baseline": {}},
            "configs/wgan_gp.py has no group emma",
        ),
        ({"cells": axis("n_critic", [3, 0])}, "cell n_critic 0: config.n_critic=0: should be"),
        (
            {"fixed": {}},
            "cell n_critic 1 keeps its best checkpoint by 'none'",
        ),
        ({"metric": "d_loss"}, "sweep.metric='d_loss': by it no model is better"),
        ({"metric": "kid_efflite0"}, "cell n_critic 1 does not measure it"),
        ({"baseline": {"n_critic": "4"}}, "no cell has {'n_critic': '4'}"),
        ({"base": "configs/none.py"}, "there is no file"),
        (
            {"base": "configs/wgan_gp.py:none"},
            "sweep.base='configs/wgan_gp.py:none': preset 'none'",
        ),
        (
            {"cells": axis("x", {"1": {}, "one": {"n_critic": 1}}), "baseline": {"x": "1"}},
            "cells x 1 and x one have the same config",
        ),
    ],
)
def test_sweeps_that_cannot_be_run_are_refused(own, message, tmp_path):
    with pytest.raises(UserError) as error:
        runs.plan(sweep(**own), tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", design.shipped(), ids=lambda path: path.stem)
def test_every_cell_of_a_shipped_sweep_can_be_run(path, tmp_path):
    """Of its smallest form too; every preset."""
    for preset in ("", design.SMOKE, *design.load(str(path))[2]):
        name, found, _ = design.load(f"{path}:{preset}")
        assert name == "_".join(filter(None, (path.stem, preset)))
        seeds = [seed for run in runs.plan(found, tmp_path) for seed in run.seeds]
        assert len(seeds) == found.seeds * len(found.cells)
        for cell in found.cells:
            assert results.field(found, cell, "evaluation.best") == found.metric


def test_every_tip_changes_the_default():
    names = {path.stem for path in design.shipped()}
    assert {"tips", "loss_and_regulariser", "ada_by_data_size", "dcgan_ada_cifar10"} <= names
    tips = design.load(str(ROOT / "experiments" / "tips.py"))[1]
    # Each of the default's fields that a switch changes is one that the default does not have.
    default = tips.cells[0]
    for cell in tips.cells[1:]:
        for name, value in cell.overrides.items():
            if name != "augment" and not name.startswith("discriminator.batch_norm"):
                assert results.field(tips, default, name) != value, (cell.label, name)


def test_a_file_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*; there are ada_by"):
        design.load(str(tmp_path / "none.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match="has no SWEEP"):
        design.load(str(tmp_path / "empty.py"))
    with pytest.raises(UserError, match="no preset 'long', but smoke, short"):
        design.load(str(ROOT / "experiments" / "ada_by_data_size.py:long"))


def test_a_shipped_sweep_is_planned_from_any_folder(tmp_path, monkeypatch):
    """A file of the current folder comes before a shipped one; runs are written there too."""
    monkeypatch.chdir(tmp_path)
    name, found, _ = design.load("experiments/ada_by_data_size.py:short")
    assert name == "ada_by_data_size_short"
    assert len(runs.plan(found, tmp_path)) == found.seeds * len(found.cells)
    own = tmp_path / "experiments" / "ema_decay.py"
    own.parent.mkdir()
    own.write_text((ROOT / "experiments" / "upsampling.py").read_text())
    assert "transposed convolutions" in design.load("experiments/ema_decay.py")[1].question


def test_the_fields_of_cells_are_shown_but_for_those_that_are_levels():
    """The report's table has a column for each."""
    named = axis("penalty.weight", {"none": {"penalty.weight": 0.0}, "default": {}})
    shown = sweep(cells=product(named, axis("n_critic", [1, 5])))
    assert results.changed_fields(shown) == ["penalty.weight"]
    weights = [results.field(shown, cell, "penalty.weight") for cell in shown.cells]
    assert weights == [0.0, 0.0, 30.0, 30.0]


def test_seeds_come_one_after_another(tmp_path):
    planned = runs.plan(sweep(), tmp_path)
    assert [(*run.seeds, run.config["n_critic"]) for run in planned] == [
        (0, 1),
        (0, 3),
        (1, 1),
        (1, 3),
    ]
    assert all([run.config["seed"]] == [run.checked.seed] == [*run.seeds] for run in planned)
    assert len({run.hash for run in planned}) == 4


def test_seeds_that_are_together_are_one_run(tmp_path):
    planned = runs.plan(sweep(together=True), tmp_path)
    assert [run.label for run in planned] == ["n_critic 1, seeds 0-1", "n_critic 3, seeds 0-1"]
    assert all(run.checked.num_seeds == 2 for run in planned)
    apart = runs.plan(sweep(), tmp_path)
    assert not {run.hash for run in planned} & {run.hash for run in apart}
    message = r"sweep.also=\('aug_p',\): .* figures of its samples alone; leave out aug_p, or set "
    with pytest.raises(UserError, match=message):
        runs.plan(sweep(together=True, also=("aug_p",)), tmp_path)


def test_a_hash_is_of_what_makes_a_run(tmp_path):
    one = runs.plan(sweep(), tmp_path)[0]
    further = runs.plan(sweep(fixed={**LIKELIHOOD, "total_steps": 9, "log_every": 1}), tmp_path)[0]
    other = runs.plan(sweep(fixed={**LIKELIHOOD, "ema.decay": 0.5}), tmp_path)[0]
    assert one.hash == further.hash != other.hash
    # Over another schedule from the start, more steps are another run.
    decay = {**LIKELIHOOD, "g_optimiser.learning_rate": 1e-3, "g_optimiser.decay": "linear"}
    linear = runs.plan(sweep(fixed=decay), tmp_path)[0]
    longer = runs.plan(sweep(fixed={**decay, "total_steps": 9}), tmp_path)[0]
    assert linear.hash != longer.hash


def test_a_run_is_found_by_its_config_whatever_its_folder(tmp_path):
    run = runs.plan(sweep(), tmp_path)[2]
    workdir.claim(tmp_path / "elsewhere_named", run.checked)
    config = json.loads((tmp_path / "elsewhere_named" / workdir.CONFIG).read_text())
    # As an older version wrote it, and of fewer steps.
    del config["keep_checkpoints"], config["penalty"]["difference"]
    config["total_steps"] = 7
    (tmp_path / "elsewhere_named" / workdir.CONFIG).write_text(json.dumps(config))
    found = [run.folder.name for run in runs.plan(sweep(), tmp_path)]
    assert found.index("elsewhere_named") == 2
    assert found.count("elsewhere_named") == 1


def test_a_run_of_an_older_version_is_that_of_one_cell_at_most(tmp_path):
    """Where cells differ in the field that it lacks, it may be of either."""
    folder = tmp_path / "a_of_an_older_version"
    workdir.claim(folder, runs.plan(sweep(), tmp_path)[0].checked)
    config = json.loads((folder / workdir.CONFIG).read_text())
    del config["n_critic"]
    (folder / workdir.CONFIG).write_text(json.dumps(config))
    planned = runs.plan(sweep(), tmp_path)
    assert len({run.folder for run in planned}) == len(planned) == 4
    # Nor does it come before the folder that has a run's own hash.
    own = planned[1].folder
    workdir.claim(own, planned[1].checked)
    found = runs.plan(sweep(cells=axis("n_critic", [3])), tmp_path)
    assert found[0].folder == own


def test_each_place_has_cores_of_its_own(monkeypatch):
    monkeypatch.setattr(jobs.os, "sched_getaffinity", lambda _: {2, 3, 5, 7})
    monkeypatch.setattr(jobs.shutil, "which", lambda _: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert jobs.places() == [((core,), None) for core in (2, 3, 5, 7)]
    assert jobs.places(2) == [((2, 5), None), ((3, 7), None)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert jobs.places() == [((2, 5), 0), ((3, 7), 3)]
    assert jobs.places(1) == [((2, 3, 5, 7), 0)]
    # Taken for none they would be shared by as many jobs as there are cores.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-5ebe9c5f")
    with pytest.raises(UserError, match="GPU-5ebe9c5f is no number; name GPUs by those"):
        jobs.places()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert len(jobs.places()) == 4


def test_a_sweep_is_not_queued_without_slurm(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="there is no sbatch here"):
        jobs.submit_to_slurm(tmp_path, runs.plan(sweep(), tmp_path), {})


def test_a_difference_has_the_p_of_a_paired_t_test():
    """Of two degrees of freedom Student's t has p = 1 - t / sqrt(t^2 + 2)."""
    baseline = {0: 1.0, 1: 5.0, 2: 2.0, 9: 100.0}
    found = results.difference({0: 2.0, 1: 7.0, 2: 5.0, 4: -100.0}, baseline)
    t = 2 / (1 / math.sqrt(3))  # The differences are 1, 2 and 3.
    assert found.count == 3
    assert found.mean == 2
    assert found.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert results.difference({0: 2.0}, baseline).p is None
    assert results.difference({0: 2.0, 1: 6.0}, baseline).p is None  # They differ by as much.
    assert results.difference({4: 2.0}, baseline) is None


def test_p_is_adjusted_by_the_false_discovery_rate():
    """The example of Benjamini & Hochberg 1995, section 3.2, whose four smallest stay below .05."""
    given = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    given += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    column = [results.Difference(1.0, p, None, 3) for p in reversed(given)]
    column.insert(4, None)
    found = results.adjust(column)
    assert found[4] is None
    adjusted = {each.p: each.adjusted for each in found if each is not None}
    assert sorted(p for p, q in adjusted.items() if q <= 0.05) == given[:4]
    assert adjusted[0.0001] == pytest.approx(0.0001 * 15)
    assert adjusted[1.0] == 1.0


def test_a_spread_is_a_mean_and_a_sample_deviation():
    assert results.spread([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)), 2)
    assert results.spread([1.0]) == (1.0, None, 1)
    assert results.spread([]) is None
