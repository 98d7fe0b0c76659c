"""Measurement of generated images against real ones, and of reals against reals: the floor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from ganjax.errors import UserError
from ganjax.metrics import features
from ganjax.metrics.features import Observed
from ganjax.metrics.image_set import ImageSet
from ganjax.metrics.metric import Counts, Metric, Taken
from ganjax.metrics.table import METRICS, network_outputs
from ganjax.parallel.sharding import make_layout


class Sets(NamedTuple):
    """The sets of images that are compared.

    Attributes:
      real: the real images that the fakes should resemble.
      fake: the generated images.
      other: further reals, which take the place of the fakes for the floor. Without any, two
        halves of `real` give the floor of unbiased metrics, and other metrics have no floor.
      training: the set that the fakes may be copies of, "real" or "other".
    """

    real: ImageSet
    fake: ImageSet
    other: ImageSet | None
    training: str = "real"

    def roles(self, metric: Metric) -> tuple[str, str]:
        """Returns the fields that hold a metric's reference and the stand-in for the fakes."""
        if metric.reference == "training" and self.training == "other":
            return "other", "real"
        return "real", "other"


def check(metrics: Sequence[str], network: str) -> None:
    """Checks names of metrics and of a feature network.

    Raises:
      UserError: no metric is named, or a metric or the network does not exist.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f"--metrics={metric}: there are {', '.join(METRICS)}")
    if not metrics:
        raise UserError(f"--metrics= is empty: name some of {', '.join(METRICS)}")
    if network not in features.NETWORKS:
        raise UserError(f"--features={network}: there are {', '.join(features.NETWORKS)}")
    for metric in metrics:
        if not features.provides(network, METRICS[metric].needs):
            raise UserError(
                f"--metrics={metric}: it needs classes, and the weights of --features={network} "
                "have none; leave it out, or take --features=efflite0"
            )


def uses_network(names: Sequence[str]) -> bool:
    """Returns whether a metric in `METRICS` of one of these names looks through a network."""
    return any(METRICS[name].of_network for name in names)


def load_network(
    names: Sequence[str], network: str, weights: str | Path | None = None
) -> features.Params | None:
    """Returns the parameters of a feature network, or None if no metric looks through one.

    Args:
      names: names of metrics in `METRICS`.
      network: a name in `ganjax.metrics.features.NETWORKS`.
      weights: the network's weight file, where it is not in the cache.

    Raises:
      UserError: the weights can be neither found nor fetched.
    """
    return features.load(network, weights) if uses_network(names) else None


def most_others(names: Sequence[str], training: str, fakes: int) -> int:
    """Returns the most images to take from the other split than that of the reals.

    They stand in for the fakes, so the number of fakes suffices, unless that split holds the
    training images, among which a metric looks for copies.

    Args:
      names: names of metrics in `METRICS`.
      training: as `Sets.training`.
      fakes: the number of fakes.
    """
    of_training = any(METRICS[name].reference == "training" for name in names)
    return features.MOST if training == "other" and of_training else min(fakes, features.MOST)


def measure_sets(
    sets: Sets, names: Sequence[str], network: str, params: features.Params | None
) -> dict[str, Any]:
    """Measures fakes against reals and, for the floor, reals against reals.

    Images are never all held at once, but their features are, which takes 4 bytes times the
    network's dimension for each image.

    Args:
      sets: the sets of images.
      names: names of metrics in `METRICS`.
      network: a name in `ganjax.metrics.features.NETWORKS`.
      params: the network's parameters; None if no metric needs them.

    Returns:
      "figures", a dict of all figures by their full names; "floor", a dict of the floors by the
      same names, of the metrics that have one; "protocol", a description of the measurement; and
      "images_per_second", the rate at which fakes were generated and passed through the network
      (0 after a single batch).

    Raises:
      UserError: there are too few images, or a metric cannot take images of their shapes.
    """
    metrics = [METRICS[name] for name in names]
    _check_counts(sets, metrics)
    _check_shapes(sets, metrics)
    sharding = make_layout(jax.local_devices()).batch
    outputs = network_outputs(metrics)
    extract = features.Extractor(network, params, outputs, sharding)
    observed = {"real": extract.observe(sets.real, "reals")}
    if sets.other is not None:
        observed["other"] = extract.observe(sets.other, "more reals")
    copied = observed[sets.training]
    if copied.images.mirrored and any(m.of_network and m.reference == "training" for m in metrics):
        copied = extract.with_mirror_images(copied, "mirror images")
    observed["copied"] = copied
    observed["fake"] = extract.observe(sets.fake, "fakes")
    figures, floor = {}, {}
    for metric in metrics:
        found, found_floor = _measure(sets, metric, observed)
        figures |= metric.full_names(found, network)
        floor |= metric.full_names(found_floor, network)
    return {
        "figures": figures,
        "floor": floor,
        "protocol": _protocol(sets, metrics, network),
        "images_per_second": extract.images_per_second,
    }


def _measure(
    sets: Sets, metric: Metric, observed: dict[str, Observed]
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns a metric's figures and their floor, which is {} if it has none."""
    role, stand_in = sets.roles(metric)
    reference = observed["copied" if metric.reference == "training" else role]
    taken = _taken(sets, metric)
    prepared = metric.prepare(reference.part(metric.needs, 0, taken.reference))
    figures = metric.measure(prepared, observed["fake"].part(metric.needs, 0, taken.fake))
    if stand_in in observed:
        stand_ins = observed[stand_in].part(metric.needs, 0, taken.fake)
        return figures, metric.measure(prepared, stand_ins)
    if metric.unbiased:
        half = sets.real.count // 2
        taken = metric.choose_counts(Counts(half, half))
        prepared = metric.prepare(reference.part(metric.needs, 0, taken.reference))
        second = reference.part(metric.needs, half, half + taken.fake)
        return figures, metric.measure(prepared, second)
    return figures, {}


def _taken(sets: Sets, metric: Metric) -> Taken:
    """Returns the numbers of images that a metric looks at."""
    role, stand_in = sets.roles(metric)
    further = getattr(sets, stand_in)
    stand_ins = None if further is None else further.count
    return metric.choose_counts(Counts(getattr(sets, role).count, sets.fake.count, stand_ins))


def _protocol(sets: Sets, metrics: Sequence[Metric], network: str) -> dict[str, Any]:
    """Describes how the figures were measured, for the record."""
    protocol = {
        "real": _description(sets.real),
        "fake": _description(sets.fake),
        "metrics": {
            metric.name: metric.protocol(_taken(sets, metric)) | {"floor": _floor(sets, metric)}
            for metric in metrics
        },
    }
    for metric in metrics:
        if metric.reference == "training":
            role, _ = sets.roles(metric)
            protocol["neighbours_among"] = _description(getattr(sets, role))
    if network_outputs(metrics):
        used = features.NETWORKS[network]
        protocol |= {
            "network": network,
            "resize": used.resize,
            f"weights_{used.file.algorithm}": used.file.hash,
        }
    return protocol | {"cautions": _cautions(sets, metrics, network)}


def _cautions(sets: Sets, metrics: Sequence[Metric], network: str) -> list[str]:
    """Returns a line for each difference of sizes that the figures measure too."""
    cautions = []
    real, fake = ("x".join(map(str, images.shape[:2])) for images in (sets.real, sets.fake))
    if network_outputs(metrics):
        seen = f"the network sees all at one size ({features.NETWORKS[network].resize})"
        if real != fake:
            cautions.append(
                f"the reals are {real} and the fakes {fake}: {seen}, so that the figures measure "
                "this difference too; compare images of one size where you can"
            )
        squashed = [
            f"{role} of {'x'.join(map(str, images.shape[:2]))}"
            for role, images in (("reals", sets.real), ("fakes", sets.fake))
            if images.shape[0] != images.shape[1]
        ]
        if squashed:
            cautions.append(f"{' and '.join(squashed)} are squashed to a square: {seen}")
    done = {
        name: sets.real.record[name]
        for name in ("cropped", "padded", "shrunk", "enlarged")
        if name in sets.real.record
    }
    if done:
        whole = sets.real.count
        counts = ", ".join(
            f"{'all' if count == whole else count} are {name}" for name, count in done.items()
        )
        cautions.append(
            f"the reals are {sets.real.record['native']} in their source, and of the {whole} "
            f"{counts} to get to the fakes' {fake}"
        )
    return cautions


def _description(images: ImageSet) -> dict[str, Any]:
    return {
        "images": images.name,
        "count": images.count,
        "shape": images.shape,
        **({"mirror_images": True} if images.mirrored else {}),
        **images.record,
    }


def _floor(sets: Sets, metric: Metric) -> str:
    """Describes from which images a metric's floor is."""
    if sets.other is None:
        if metric.unbiased:
            return f"two halves of the reals, {sets.real.count // 2} each"
        return "none: two halves of the reals give another figure than two sets of that size"
    stand_in = getattr(sets, sets.roles(metric)[1])
    count = min(_taken(sets, metric).fake, stand_in.count)
    return f"{count} of {stand_in.name} in place of the fakes"


def _check_counts(sets: Sets, metrics: Sequence[Metric]) -> None:
    """Raises a UserError if a set has too few images for some metric."""
    reals = sets.real.count if sets.other is not None else sets.real.count // 2
    counted = [(sets.real, reals), (sets.fake, sets.fake.count)]
    if sets.other is not None:
        counted.append((sets.other, sets.other.count))
    needed = max(metric.fewest for metric in metrics)
    for images, count in counted:
        if count < needed:
            raise UserError(
                f"{images.name} has {images.count} images: too few to compare; "
                f"{needed} are needed, of reals alone twice as many"
            )


def _check_shapes(sets: Sets, metrics: Sequence[Metric]) -> None:
    """Raises a UserError if a metric cannot take the images, or cannot compare their pixels."""
    for metric in metrics:
        height, width, channels = sets.fake.shape
        if not metric.accepts(height, width):
            raise UserError(
                f"--metrics={metric.name}: it takes images of {metric.sizes}, and those of "
                f"{sets.fake.name} are {height}x{width}; leave it out"
            )
        reference = getattr(sets, sets.roles(metric)[0])
        if metric.of_network or reference.shape == sets.fake.shape:
            continue
        size = f"{reference.shape[0]}x{reference.shape[1]}"
        if size != f"{height}x{width}":
            reason = f"the fakes are {height}x{width} and {reference.name} {size}"
            mend = "bring both to one size"
        else:
            reason = (
                f"the fakes have {channels} channels and {reference.name} has {reference.shape[-1]}"
            )
            mend = "make both grey or both RGB (a folder is read as RGB)"
        raise UserError(
            f"--metrics={metric.name}: it compares pixels, but {reason}; {mend}, or leave it out"
        )
