"""The command: its figures against the metrics called one by one, its record, its refusals."""

import json
import os
import types
from functools import partial

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from initial import initial
from PIL import Image
from small import shipped, shrink

from ganjax import evaluate
from ganjax.analysis import image_sets
from ganjax.analysis.comparison import best_and_last
from ganjax.analysis.trained import Trained
from ganjax.data import sources
from ganjax.data.fields import DataFields
from ganjax.engine import step as steps
from ganjax.errors import UserError
from ganjax.metrics import features, fid, kid, pairs, parzen, swd
from ganjax.metrics.image_set import choose
from ganjax.metrics.layers import Activations
from ganjax.metrics.table import METRICS
from ganjax.parallel.sharding import make_layout
from ganjax.training import checkpoint, evaluation, schema, workdir
from ganjax.training.loop import train
from ganjax.training.writer import read_metrics

pytestmark = pytest.mark.usefixtures("native_convolutions")

ALL = tuple(METRICS)
SIDE = 8


def tiny_network(params, x):
    """So that a test of the command compiles nothing large; its own tests are elsewhere."""
    flat = x.reshape(len(x), -1, x.shape[-1])
    half = flat.shape[1] // 2
    made = jax.numpy.concatenate([flat[:, :half].mean(1), flat[:, half:].mean(1), flat.std(1)], -1)
    return Activations(made / 64, made / 64, (x,))


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command in an empty folder, with a small network in efflite0's place."""
    monkeypatch.chdir(tmp_path)
    network = features.NETWORKS["efflite0"]._replace(
        make_params=lambda tensors: {},
        prepare=lambda images: images.astype("float32"),
        apply=tiny_network,
    )
    monkeypatch.setitem(features.NETWORKS, "efflite0", network)
    before = set(flags.FLAGS)
    evaluate.define_flags()

    def run(*arguments):
        with flagsaver.flagsaver():
            evaluate.main(flags.FLAGS(["evaluate", *map(str, arguments)]))

    yield run
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def make_run(folder, best="none"):
    """A run's folder with checkpoints of steps 1, 2 and 3, the best of which is step 2."""
    raw = shrink(shipped("wgan_gp"))
    raw.image_size, raw.data.fit = SIDE, "resize"
    raw.generator.widths = raw.discriminator.widths = (4,)
    raw.evaluation.update({"metrics": ("kid",), "best": best})
    config, module = schema.load(raw)
    workdir.claim(folder, config)
    algorithm = module.build(config)
    with checkpoint.open_checkpoints(folder, 9, best) as checkpoints:
        for step, value in ((1, 3.0), (2, 1.0), (3, 2.0)):
            state = steps.init_state(algorithm, jax.random.key(step))
            state = state.replace(step=state.step + step)
            checkpoint.save(checkpoints, step, state, {"kid_efflite0": value}, {})
            checkpoints.wait()
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), "kid_efflite0")


def extracted(images):
    made = jax.jit(tiny_network)({}, images.repeat(3, -1).astype(np.float32))
    return np.asarray(made.features)


def of_split(run, split, num):
    source = run.images_of(split)
    return source.fetch(choose(source, num))["image"]


def test_figures_of_a_run(run_folder, command, capsys):
    command(f"--workdir={run_folder}", "--num=40", f"--metrics={','.join(ALL)}")
    out = run_folder / "evaluations" / "step_00000002_validation_40_seed_0_efflite0.json"
    result = json.loads(out.read_text())
    printed = capsys.readouterr().out
    assert printed.split()[-1] == str(out)
    assert "\nfloor of fid: 40 of embedded:mnist5k train in place of the fakes\n" in printed
    found, floor, protocol = result["figures"], result["floor"], result["protocol"]
    assert set(found) == set(floor)
    assert {name for name in found if "efflite0" not in name} == {
        "neighbour_distance_pixels",
        "distinct_neighbours_pixels",
        "log_likelihood",
        "log_likelihood_standard_error",
        "parzen_width",
        "swd",
        "swd_8",
    }
    run = Trained(run_folder)
    fakes = run.generate(*run.inputs(40))
    held, train = of_split(run, "validation", 500), of_split(run, "train", 4500)
    x, y, t = extracted(fakes), extracted(held), extracted(train)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3)  # noqa: E731
    close(found["kid_efflite0"], kid.kernel_distance(y, x)[0])
    close(found["fid_efflite0"], fid.frechet_distance(fid.moments_of(y), fid.moments_of(x)))
    close(floor["fid_efflite0"], fid.frechet_distance(fid.moments_of(y), fid.moments_of(t[:40])))
    close(found["neighbour_distance_efflite0"], pairs.nearest(x, t, 1).distance.mean())
    close(floor["neighbour_distance_efflite0"], pairs.nearest(y[:40], t, 1).distance.mean())
    apart = np.abs(fakes[:, None].astype(int) - train[None].astype(int)).mean((2, 3, 4)) / 255
    close(found["neighbour_distance_pixels"], apart.min(1).mean())
    flat = [z.reshape(len(z), -1).astype(np.float32) / 255 for z in (fakes, held)]
    width = parzen.choose_width(flat[0], flat[1][:250])
    assert found["parzen_width"] == width
    patches = swd.describe([held[:40]], "a")
    close(found["swd"], swd.distance(patches, swd.describe([fakes], "b")).average)
    close(floor["swd_8"], swd.distance(patches, swd.describe([train[:40]], "b")).levels[8])
    each = parzen.log_likelihood(flat[0], flat[1][250:], width)
    close(found["log_likelihood"], np.mean(each))
    assert protocol["network"] == "efflite0"
    assert protocol["resize"].startswith("bicubic")
    assert protocol["metrics"]["kid"] == {
        "kernel": "(x.y/d + 1)^3",
        "subsets": 100,
        "subset_size": 40,
        "seed": 0,
        "floor": "40 of embedded:mnist5k train in place of the fakes",
    }
    assert protocol["metrics"]["is"]["splits"] == 10
    assert protocol["metrics"]["pixel_neighbours"] == {
        "k": 1,
        "distance": "mean absolute",
        "fakes": 40,
        "floor": "40 of embedded:mnist5k validation in place of the fakes",
    }
    assert protocol["metrics"]["swd"]["images"] == 40
    assert protocol["fake"] == {
        "seed": 0,
        "labels": "none",
        "images": f"{run_folder} step 2 (best)",
        "count": 40,
        "shape": [SIDE, SIDE, 1],
    }
    assert protocol["real"]["images"] == "embedded:mnist5k validation"
    assert protocol["neighbours_among"]["count"] == 4500
    assert set(protocol["metrics"]) == set(ALL)


@pytest.mark.slow
def test_figures_at_every_resolution(tmp_path, command):
    """Each against reals of its size, resized as in training; 4x4 has no texture to compare."""
    raw, folder = shrink(shipped("progan")), tmp_path / "run"
    raw.total_steps = 5
    config, module = schema.load(raw)
    workdir.claim(folder, config)
    algorithm = module.build(config)
    with checkpoint.open_checkpoints(folder, 9) as checkpoints:
        for step in (2, 5):
            state = initial(partial(steps.init_state, algorithm), jax.random.key(step))
            checkpoint.save(checkpoints, step, state.replace(step=jax.numpy.asarray(step)), {}, {})
    command(f"--workdir={folder}", "--num=30", "--metrics=kid,swd", "--resolutions=all")
    name = "step_00000005_validation_30_seed_0_efflite0_resolutions.json"
    found = json.loads((folder / "evaluations" / name).read_text())
    assert list(found) == ["4x4", "8x8"]
    for step, (side, result) in zip((2, 5), found.items(), strict=True):
        run = Trained(folder, str(step))
        fakes, held = run.generate(*run.inputs(30)), of_split(run, "validation", 500)
        assert f"{held.shape[1]}x{held.shape[2]}" == side
        expected = kid.kernel_distance(extracted(held), extracted(fakes))[0]
        np.testing.assert_allclose(result["figures"]["kid_efflite0"], expected, rtol=1e-3)
        assert result["protocol"]["fake"]["shape"] == [*held.shape[1:3], 1]
        assert ("swd" in result["figures"]) == (side == "8x8")
        assert set(result["floor"]) == set(result["figures"])


def test_one_resolution_is_not_all(run_folder, command):
    with pytest.raises(UserError, match=r"--resolutions=all: .* has one resolution, 8x8"):
        command(f"--workdir={run_folder}", "--resolutions=all")


def test_which(run_folder, command):
    for which, step in (("best", 2), ("last", 3), ("1", 1)):
        assert Trained(run_folder, which).step == step
    command(f"--workdir={run_folder}", "--which=1", "--num=9", "--metrics=kid", "--split=train")
    out = run_folder / "evaluations" / "step_00000001_train_9_seed_0_efflite0.json"
    protocol = json.loads(out.read_text())["protocol"]
    assert protocol["real"]["images"] == "embedded:mnist5k train"
    assert "9 of embedded:mnist5k validation" in protocol["metrics"]["kid"]["floor"]
    with pytest.raises(UserError, match=r"--which=4: .* holds: 1, 2, 3"):
        Trained(run_folder, "4")


def test_an_evaluation_replaces_no_other(run_folder, command):
    """And names no network where none was used."""
    for metrics in ("pixel_neighbours", "log_likelihood"):
        command(f"--workdir={run_folder}", "--num=7", "--seed=5", f"--metrics={metrics}")
    stem = "step_00000002_validation_7_seed_5"
    found = [run_folder / "evaluations" / f"{stem}{end}.json" for end in ("", "_2")]
    found = [set(json.loads(path.read_text())["protocol"]["metrics"]) for path in found]
    assert found == [{"pixel_neighbours"}, {"log_likelihood"}]


def test_eight_devices_draw_what_one_draws(run_folder):
    one, eight = Trained(run_folder), Trained(run_folder, devices=jax.local_devices())
    inputs = one.inputs(11)
    np.testing.assert_allclose(
        one.generate(*inputs).astype(int), eight.generate(*inputs).astype(int), atol=1
    )


@pytest.mark.slow
def test_two_sets_in_any_form_give_the_same(command, tmp_path):
    data = DataFields(source="embedded:mnist5k", fit="pad")
    reals = sources.open_source(data, "validation", image_size=32)
    reals = reals.fetch(np.arange(reals.size))["image"]
    fakes = np.random.RandomState(0).randint(0, 256, (30, 32, 32, 3)).astype(np.uint8)
    np.savez("fake.npz", image=fakes)
    np.savez("real.npz", arr_0=reals)
    folder = tmp_path / "folder" / "deeper"
    folder.mkdir(parents=True)
    for i, image in enumerate(fakes):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    (folder / "notes.txt").write_text("no image")
    results = []
    for real, fake, out in (
        ("real.npz", "fake.npz", "evaluation.json"),
        ("real.npz", "folder", "evaluation_2.json"),
        ("embedded:mnist5k", "folder:folder", "evaluation_3.json"),
    ):
        command(f"--real={real}", f"--fake={fake}", "--fit=pad", f"--metrics={','.join(ALL)}")
        results.append(json.loads((tmp_path / out).read_text()))
    # Sources are padded to 32, the fakes' size, so they are the same images.
    assert results[1]["figures"] == pytest.approx(results[0]["figures"], rel=1e-4)
    assert results[1]["floor"] == pytest.approx(results[0]["floor"], rel=1e-4, abs=1e-9)
    near = {name for name in results[0]["figures"] if "neighbour" in name}
    for name in set(results[0]["figures"]) - near:
        assert results[2]["figures"][name] == pytest.approx(results[0]["figures"][name], rel=1e-4)
    # Halves of the reals show what is the same of fewer images; a source has another split.
    floors = {
        metric: protocol["floor"] for metric, protocol in results[0]["protocol"]["metrics"].items()
    }
    assert floors["kid"] == "two halves of the reals, 250 each"
    assert all(floors[name].startswith("none: ") for name in ("fid", "is", "pixel_neighbours"))
    assert set(results[0]["floor"]) == {
        "kid_efflite0",  # Of all pairs of both halves at once: no deviation.
        "kid_batch_efflite0",
        "perceptual_distance_efflite0",
    }
    assert set(results[2]["floor"]) == set(results[2]["figures"])
    protocol = results[2]["protocol"]
    assert protocol["metrics"]["fid"]["floor"].startswith("30 of embedded:mnist5k train (pad")
    assert protocol["neighbours_among"]["count"] == 4500
    assert "validation (pad to 32x32)" in protocol["real"]["images"]
    assert results[0]["floor"]["kid_efflite0"] < results[0]["figures"]["kid_efflite0"] / 10


def test_a_folder_is_read_as_the_data_source_reads_it(tmp_path):
    """16 bits are not cut off at 255, alpha lies over white, EXIF turns."""
    random = np.random.RandomState(0)
    deep = random.randint(0, 65536, (6, 6)).astype(np.uint16)
    clear = random.randint(0, 256, (6, 6, 4)).astype(np.uint8)
    turned = random.randint(0, 256, (6, 6, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3  # By 180 degrees.
    Image.fromarray(deep).save(tmp_path / "0.png")
    Image.fromarray(clear).save(tmp_path / "1.png")
    Image.fromarray(turned).save(tmp_path / "2.png", exif=exif)
    # A source of a folder needs more to hold some out.
    for i in range(3, 23):
        Image.fromarray(turned).save(tmp_path / f"{i:02d}.png")
    found = image_sets.from_folder(tmp_path)
    images = {tuple(image.ravel()) for image in found.array()}
    alpha = clear[..., 3:] / 255
    over = np.floor(clear[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    level = np.floor(deep / 257 + 0.5).astype(np.uint8)[..., None].repeat(3, -1)
    assert images == {tuple(x.ravel()) for x in (level, over, turned[::-1, ::-1], turned)}
    data = DataFields(source=f"folder:{tmp_path}", fit="pad")
    both = [sources.open_source(data, split, image_size=6) for split in sources.SPLITS]
    same = {tuple(x.ravel()) for s in both for x in s.fetch(np.arange(s.size))["image"]}
    assert images == same


@pytest.mark.parametrize(
    ("real", "fake", "fit", "told"),
    [
        ((8, 8), (8, 8), "resize", []),
        ((16, 16), (8, 8), "resize", ["the reals are 16x16 and the fakes 8x8: the network sees"]),
        ((6, 8), (6, 8), "resize", ["reals of 6x8 and fakes of 6x8 are squashed to a square"]),
        (
            (8, 8),
            (8, 6),
            "resize",
            ["the reals are 8x8 and the fakes 8x6", "fakes of 8x6 are squashed to a square"],
        ),
        (
            "embedded:mnist5k",
            (32, 32),
            "resize",
            ["the reals are 28x28 in their source, and of the 500 all are enlarged to get to the"],
        ),
        (
            "embedded:mnist5k",
            (8, 8),
            "resize",
            ["28x28 in their source, and of the 500 all are shrunk"],
        ),
        ("embedded:mnist5k", (28, 28), "resize", []),
        (
            "embedded:mnist5k",
            (8, 16),
            "resize",
            [
                "reals of 8x16 and fakes of 8x16 are squashed to a square",
                "28x28 in their source, and of the 500 all are cropped, all are shrunk to get to",
            ],
        ),
        (
            "embedded:mnist5k",
            (32, 32),
            "pad",
            ["and of the 500 all are padded to get to the fakes' 32"],
        ),
        (
            "folder:photos",
            (8, 8),
            "resize",
            ["8 to 40 a side in their source, and of the 10 9 are cropped, 8 are shrunk to get to"],
        ),
    ],
)
def test_a_difference_of_sizes_is_told_and_recorded(
    command, tmp_path, capsys, real, fake, fit, told
):
    def images(shape):
        return np.random.RandomState(0).randint(0, 256, (20, *shape, 1), np.uint8)

    save("fake.npz", image=images(fake))
    arguments = ["--fake=fake.npz", "--metrics=fid"]
    if real == "folder:photos":
        (tmp_path / "photos" / "train").mkdir(parents=True)
        (tmp_path / "photos" / "val").mkdir()
        for i, size in enumerate([(8, 8), (8, 12), *[(30, 40)] * 8]):
            for part in ("train", "val"):
                Image.new("L", size, i).save(tmp_path / "photos" / part / f"{i}.png")
    if isinstance(real, str):
        arguments += [f"--real={real}", f"--fit={fit}"]
    else:
        save("real.npz", image=images(real))
        arguments += ["--real=real.npz"]
    command(*arguments)
    cautions = json.loads((tmp_path / "evaluation.json").read_text())["protocol"]["cautions"]
    assert len(cautions) == len(told)
    for caution, part in zip(cautions, told, strict=True):
        assert part in caution
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("caution: ")] == [
        f"caution: {caution}" for caution in cautions
    ]


def test_a_folder_is_listed_as_the_data_source_lists_it(command, tmp_path, capsys):
    """Without hidden images, through links, and what is not read is told."""
    random = np.random.RandomState(0)
    (tmp_path / "reals" / ".ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for i in range(20):
        image = Image.fromarray(random.randint(0, 256, (8, 8, 3)).astype(np.uint8))
        image.save(tmp_path / ("elsewhere" if i < 6 else "reals") / f"{i:02}.png")
        image.save(tmp_path / "reals" / ".ipynb_checkpoints" / f"{i:02}-checkpoint.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "reals" / "linked")
    (tmp_path / "reals" / "._06.png").write_bytes(b"no image")
    (tmp_path / "reals" / "b.tif").write_bytes(b"no image")
    data = DataFields(source=f"folder:{tmp_path / 'reals'}")
    both = [sources.open_source(data, split, image_size=8) for split in sources.SPLITS]
    assert image_sets.from_folder(tmp_path / "reals").count == sum(s.size for s in both) == 20
    command("--real=reals", "--fake=elsewhere", "--metrics=pixel_neighbours")
    told = "reals: files that are not read: 1 of .tif, 1 of hidden folders, 1 of hidden images\n"
    assert told in capsys.readouterr().out
    real = json.loads((tmp_path / "evaluation.json").read_text())["protocol"]["real"]
    assert real["not_read"] == {".tif": 1, "hidden folders": 1, "hidden images": 1}


def save(name, **arrays):
    np.savez(name, **arrays)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a run by --workdir, or two sets"),
        (("--real=a.npz",), "name a run by --workdir, or two sets"),
        (("--workdir=runs/x",), "no run is there"),
        (("--workdir=x", "--real=a.npz"), "--real is for sets of images without a run"),
        (("--workdir=x", "--fit=pad"), "--fit goes with --real and --fake only"),
        (("--real=a.npz", "--fake=b.npz", "--num=3"), "--num goes with --workdir only"),
        (("--workdir=x", "--metrics=kid,fdi"), "--metrics=fdi: there are kid"),
        (("--workdir=x", "--features=vgg"), "--features=vgg: there are efflite0"),
        (
            ("--workdir=x", "--metrics=kid,is", "--features=keras_inception"),
            "--metrics=is: it needs classes, and the weights of --features=keras_inception have",
        ),
        (("--workdir=x", "--weights=w.pth"), "w.pth: the weights .* cannot be read"),
        (("--workdir=x", "--out=no/where.json"), "--out=no/where.json: name a .json"),
        (("--real=a.npz", "--fake=none.npz"), "none.npz cannot be read"),
        (("--real=a.npz", "--fake=words.npz"), "none of its arrays is named"),
        (("--real=a.npz", "--fake=float.npz"), "'image' is float64"),
        (("--real=a.npz", "--fake=few.npz"), "few.npz has 3 images: too few"),
        (("--real=a.npz", "--fake=empty"), "empty: no png, .* file is in that folder"),
        (("--real=a.npz", "--fake=mixed"), "bring all to one size"),
        (("--real=a.npz", "--fake=broken"), "is no image that can be read"),
        (("--real=nowhere", "--fake=a.npz"), "--real=nowhere: there is no such folder"),
        (("--real=embedded:x", "--fake=a.npz"), "embedded:x"),
        (
            ("--real=a.npz", "--fake=embedded:mnist5k"),
            "--fake=embedded:mnist5k: only real images come from a data source; write them to an",
        ),
        (("--real=a.npz", "--fake=folder:nowhere"), "--fake=folder:nowhere: there is no such"),
        (("--real=a.npz", "--fake=folder:mixed"), "bring all to one size"),
        (
            ("--real=a.npz", "--fake=large.npz", "--metrics=pixel_neighbours"),
            "--metrics=pixel_neighbours: it compares pixels, but the fakes are 16x16 and a.npz 8x8",
        ),
        (
            ("--real=a.npz", "--fake=rgb.npz", "--metrics=fid,log_likelihood"),
            "the fakes have 3 channels and a.npz has 1",
        ),
        (("--real=a.npz", "--fake=flat.npz", "--metrics=swd"), "those of flat.npz are 4x16"),
        (("--real=a.npz", "--fake=b.npz", "--resolutions=all"), "--resolutions goes with"),
        (("--real=a.npz", "--fake=cut.npz"), "cut.npz cannot be read as an .npz"),
        (("--real=a.npz", "--fake=crc.npz"), "crc.npz cannot be read as an .npz"),
        (("--real=a.npz", "--fake=deflated.npz"), "deflated.npz cannot be read as an .npz"),
        (("--real=a.npz", "--fake=npy.npz"), "npy.npz cannot be read as an .npz"),
        (("--real=a.npz", "--fake=zero.npz"), "zero.npz: .* no image is there"),
    ],
)
def test_refusals_are_one_line(command, tmp_path, arguments, message, monkeypatch):
    if "16x16" in message or "channels" in message:
        monkeypatch.setattr(features.Extractor, "__call__", None)  # Before the network runs.
    image = np.zeros((20, 8, 8, 1), np.uint8)
    save("a.npz", image=image)
    save("few.npz", image=image[:3])
    save("float.npz", image=image / 1.0)
    save("words.npz", words=image)
    save("large.npz", image=np.zeros((20, 16, 16, 1), np.uint8))
    save("rgb.npz", image=image.repeat(3, -1))
    save("flat.npz", image=image.reshape(20, 4, 16, 1))
    save("zero.npz", image=image[:0])
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:500])
    (tmp_path / "crc.npz").write_bytes(whole[:500] + b"\1" + whole[501:])
    np.savez_compressed("deflated.npz", image=np.random.RandomState(0).randint(0, 9, 9**4))
    deflated = bytearray((tmp_path / "deflated.npz").read_bytes())
    deflated[100:200] = b"\xff" * 100
    (tmp_path / "deflated.npz").write_bytes(deflated)
    with (tmp_path / "npy.npz").open("wb") as file:
        np.save(file, image)
    for name in ("empty", "mixed", "broken"):
        (tmp_path / name).mkdir()
    for i, side in enumerate((8, 8, 9, 8, 8, 8, 8)):
        Image.new("RGB", (side, side)).save(tmp_path / "mixed" / f"{i}.png")
    (tmp_path / "broken" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=message) as error:
        command(*arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "evaluation.json").exists()


def test_figures_while_training(command, tmp_path):
    """The loop's figures are those of its samples; reals are looked at once."""
    raw = shrink(shipped("wgan_gp"))
    metrics = ("kid", "fid", "neighbours")
    raw.evaluation.update({"metrics": metrics, "num_samples": 30, "best": "fid_efflite0"})
    config, module = schema.load(raw)
    algorithm = module.build(config)
    run = Trained(make_run(tmp_path / "run"))
    read = []

    def source(split):
        found = run.images_of(split)
        return found._replace(fetch=lambda i: (read.append((split, len(i))), found.fetch(i))[1])

    reals, held_out = source("train"), source("validation")
    fakes = run.generate(*run.inputs(30, 3))
    evaluator = partial(
        evaluation.Evaluator,
        algorithm,
        config,
        sampler=lambda fakes, z, label, phase: fakes,
        sharding=make_layout().batch,
        params=evaluation.load(config),
    )
    made = evaluator()
    key = jax.random.key(0)
    found = made(fakes, run.phase, reals, held_out, key)
    assert sum(n for split, n in read if split == "validation") == 30
    assert sum(n for split, n in read if split == "train") == 4500
    read.clear()
    again = made(fakes[::-1], run.phase, reals, held_out, key)
    assert not read
    y, t, x = (
        extracted(images)
        for images in (of_split(run, "validation", 30), of_split(run, "train", 4500), fakes)
    )
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)  # noqa: E731
    close(found["kid_efflite0"], kid.kernel_distance(y, x)[0])
    close(found["kid_efflite0_floor"], kid.kernel_distance(y, t[:30])[0])
    close(found["fid_efflite0"], fid.frechet_distance(fid.moments_of(y), fid.moments_of(x)))
    close(again["kid_efflite0"], found["kid_efflite0"])
    # As the command's: among all of the training images, not the held-out ones.
    close(found["neighbour_distance_efflite0"], pairs.nearest(x, t, 1).distance.mean())
    # Where nothing is held out, samples are compared with training images, which have no floor.
    nothing = held_out._replace(size=0)
    measured = evaluator()(fakes, run.phase, reals, nothing, key)
    close(measured["kid_efflite0"], kid.kernel_distance(t[:30], x)[0])
    assert "kid_efflite0_floor" not in measured
    assert measured["neighbour_distance_efflite0"] == found["neighbour_distance_efflite0"]


@pytest.mark.parametrize("mirror", [False, True])
def test_a_mirrored_run_knows_flipped_copies_while_it_trains(command, monkeypatch, mirror):
    del command  # For its network, whose features are made to depend on left and right.
    network = features.NETWORKS["efflite0"]
    turned = network._replace(apply=lambda params, x: tiny_network(params, x.swapaxes(1, 2)))
    monkeypatch.setitem(features.NETWORKS, "efflite0", turned)
    raw = shrink(shipped("wgan_gp"))
    raw.image_size, raw.data.fit, raw.data.mirror = SIDE, "resize", mirror
    raw.generator.widths = raw.discriminator.widths = (4,)
    raw.evaluation.update({"metrics": ("neighbours",), "num_samples": 8, "best": "none"})
    config, module = schema.load(raw)
    reals = np.random.RandomState(0).randint(0, 256, (16, SIDE, SIDE, 1)).astype(np.uint8)
    source = sources.Source(16, lambda i: {"image": reals[i]}, (), labels=lambda: np.zeros(16, int))
    algorithm = module.build(config)
    made = evaluation.Evaluator(
        algorithm,
        config,
        sampler=lambda fakes, z, label, phase: fakes[: len(z)],
        sharding=make_layout().batch,
        params=evaluation.load(config),
    )
    phase, key = algorithm.phases[0], jax.random.key(0)
    found = made(reals[:8, :, ::-1], phase, source, source, key)
    assert (found["neighbour_distance_efflite0"] < 1e-6) == mirror


@pytest.mark.parametrize("num", [100, 1000])
def test_labels_of_samples_are_those_of_training_images(num):
    """Not in turn: classes would be uniform, and neighbouring samples never of one class."""
    values = np.repeat(np.arange(3), (300, 150, 50)).astype(np.int32)
    reals = sources.Source(500, None, (), labels=lambda: values)
    label = evaluation.draw_labels(reals, 3, num)
    assert label.dtype == np.int32
    np.testing.assert_array_equal(label[:100], values[choose(reals, 100)])
    np.testing.assert_allclose(np.bincount(label) / num, (0.6, 0.3, 0.1), atol=0.1)
    assert 0.3 < np.mean(label[::2] == label[1::2]) < 0.6  # 0.46 expected
    assert not evaluation.draw_labels(reals, 1, num).any()


def test_a_model_of_classes_is_asked_for_those_of_its_training_images():
    """By the command and within training alike."""
    raw = shrink(shipped("cgan"))
    raw.evaluation.update({"metrics": (), "log_likelihood": 40, "best": "none", "patience": 0})
    config, module = schema.load(raw)
    algorithm = module.build(config)
    reals, held_out = (
        sources.open_source(config.data, split, image_size=config.image_size)
        for split in ("train", "validation")
    )
    expected = reals.labels()[choose(reals, 40)]
    asked = []

    def sampler(ema, z, label, *, phase):
        asked.append(np.asarray(label))
        shape = (len(label), config.image_size, config.image_size, config.data.channels)
        return np.zeros(shape, np.uint8)

    made = evaluation.Evaluator(
        algorithm,
        config,
        sampler=sampler,
        sharding=make_layout().batch,
        params=evaluation.load(config),
    )
    made(None, algorithm.phases[0], reals, held_out, jax.random.key(0))
    np.testing.assert_array_equal(asked[0][:40], expected)

    run = types.SimpleNamespace(
        algorithm=algorithm,
        config=config,
        seed=config.seed,
        phase=algorithm.phases[0],
        inputs=lambda num, seed: (np.zeros((num, 2)), None),
        images_of=lambda split: {"train": reals}[split],
        batches=lambda z, label: label,
    )
    images = image_sets.from_run(run, "run", 40)
    np.testing.assert_array_equal(images.batches(), expected)
    assert images.record["labels"].startswith("of training images")


def test_the_checkpoint_of_the_lowest_kid_is_kept_and_loaded(command, tiny, tmp_path):
    del command  # For its network.
    tiny.total_steps, tiny.eval_every, tiny.checkpoint_every, tiny.keep_checkpoints = 4, 1, 100, 1
    tiny.evaluation.update({"metrics": ("kid",), "best": "kid_efflite0"})
    tiny.g_optimiser.learning_rate = 0.05  # So that the figure goes up and down.
    train(tiny, tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    values = {row["step"]: row["kid_efflite0"] for row in rows if "kid_efflite0" in row}
    assert set(values) == set(range(1, 5))
    assert len({row["kid_efflite0_floor"] for row in rows if "kid_efflite0" in row}) == 1
    best = min(values, key=values.get)
    kept = {int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {best, 4}
    shown = {name: run.step for name, run in best_and_last(tmp_path / "run").items()}
    assert shown == ({"best and last": 4} if best == 4 else {"best": best, "last": 4})


@pytest.mark.parametrize("values", [(2.0, 1.0, 1.0, 1.0, 3.0), (2.0, 2.0, 2.0, 2.0, 2.0)])
def test_the_first_of_equally_good_checkpoints_is_kept(values, tmp_path):
    """Or waiting for a better one, `patience`, would never end."""
    state = {"step": jax.numpy.int32(0)}
    best = values.index(min(values)) + 1
    with checkpoint.open_checkpoints(tmp_path, 1, "kid_efflite0") as checkpoints:
        for step, value in enumerate(values, 1):
            checkpoint.save(checkpoints, step, state, {"kid_efflite0": value}, {})
            checkpoints.wait()
        assert checkpoint.best_step(checkpoints, "kid_efflite0") == best
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {best, len(values)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrics": ("kdi",)}, r"evaluation.metrics=\('kdi',\): there is no 'kdi', but kid"),
        ({"features": "vgg"}, "evaluation.features='vgg': there are efflite0"),
        (
            {"metrics": ("is",), "features": "keras_inception"},
            r"metrics=\('is',\): 'is' needs classes, and the weights of .*'keras_inception'",
        ),
        (
            {"metrics": ("kid",), "weights": "no/file.pth"},
            r"no/file\.pth: the weights .* cannot be read there",
        ),
        ({"best": "kid_efflite0"}, r"best='kid_efflite0': .*metrics=\(\) .* but none"),
        ({"metrics": ("kid",), "best": "kid_inception"}, "but none, kid_efflite0"),
        ({"metrics": ("kid",), "best": "kid_efflite0_std"}, "no such figure"),
        ({"metrics": ("kid",), "num_samples": 5}, "evaluation.num_samples=5: .*6 are needed"),
    ],
)
def test_configs_that_measure_nothing_are_refused(fields, message):
    raw = shrink(shipped("wgan_gp"))
    raw.evaluation.update(fields)
    config, _ = schema.load(raw)
    held_out = sources.Source(500, None, ())

    def begin():
        evaluation.check(config, [held_out])
        evaluation.load(config)

    with pytest.raises(UserError, match=message) as error:
        begin()
    assert "\n" not in str(error.value)


def test_a_likelihood_of_held_out_images_needs_some():
    raw = shrink(shipped("cgan", "paper"))
    config, _ = schema.load(raw)
    every = sources.Source(500, None, ())
    evaluation.check(config, [every])
    with pytest.raises(UserError, match=r"log_likelihood=20: .* tfds:mnist has none; set 0, or"):
        evaluation.check(config, [every], holds_out=False)
