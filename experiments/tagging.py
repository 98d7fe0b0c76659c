"""Scores taggers on test images beside two baselines, and shows where these are better.

    ganjax train tagging --config.num_seeds=3
    python -m experiments.tagging --workdir=runs/tagging --out=tagging.md --sheet=tagging.png

The test images are those that neither the networks nor the skip-gram have seen and that chose no
checkpoint. The baselines are the tags that the most training images have, and the tags of the
training images whose features are the nearest. A standard error is that of 1,000 bootstrap draws of
the test images. The GAN is meant to beat the first baseline by twice its standard error.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.tools import arguments
from ganjax import shared_flags
from ganjax.analysis.tagging import TrainedTagger
from ganjax.metrics import tags
from ganjax.pictures import images
from ganjax.runtime import storage
from ganjax.training.tags import tag_sheet

# The images on which the GAN falls behind the neighbours most, and those where it leads most.
SHOWN = 4
HEADER = "| | precision@10 | recall@10 | mean reciprocal rank | distinct tags |"


class Tagged(NamedTuple):
    """The tags that a way of tagging finds for the test images.

    Attributes:
      name: what finds them.
      found: the tags of each image, the best first.
      scores: how right they are.
      distinct: for a GAN the mean number of different words that are the nearest to one of its
        samples; for neighbours that of the tags of the nearest image.
    """

    name: str
    found: list[list[tuple[str, int]]]
    scores: tags.Scores
    distinct: float


def measure(workdir: Path, which: str = "best") -> tuple[TrainedTagger, list[Tagged]]:
    """Returns a run, and the tags of its test images by two baselines and by each of its seeds."""
    run = TrainedTagger(workdir, which)
    domain = run.domain
    rows, training = domain.with_tags("test"), domain.tagged.splits["train"]
    own = [domain.tagged.tags[i] for i in rows]
    theirs = [domain.tagged.tags[i] for i in training]
    known = set(domain.vectors.words)

    def tagged(name, found, distinct):
        words = [[word for word, _ in each] for each in found]
        return Tagged(name, found, tags.score(words, own), distinct)

    frequent = [(word, 0) for word in tags.most_frequent(theirs, known)]
    near = tags.of_neighbours(domain.features[rows], domain.features[training], theirs, known)
    first = _nearest_only(domain, rows, training, known)
    ways = [
        tagged("most frequent tags", [frequent] * len(rows), float(len(frequent))),
        tagged("nearest neighbours", [[(word, 0) for word in each] for each in near], first),
    ]
    for index in range(run.config.num_seeds):
        member = TrainedTagger(workdir, which, seed_index=index)
        votes = list(member.votes(domain.features[rows]))
        distinct = float(np.mean([each.distinct for each in votes]))
        ways.append(tagged(f"GAN, seed {member.seed}", [domain.named(v) for v in votes], distinct))
    return run, ways


def _nearest_only(domain, rows, training, known) -> float:
    """Returns the mean number of tags of the nearest training image."""
    units = [
        each / np.linalg.norm(each, axis=1, keepdims=True)
        for each in (domain.features[rows], domain.features[training])
    ]
    nearest = training[np.argmax(units[0] @ units[1].T, axis=1)]
    return float(np.mean([len(known & set(domain.tagged.tags[i])) for i in nearest]))


def report(run: TrainedTagger, ways: list[Tagged]) -> str:
    """Returns a table of all figures with their standard errors, and lines on the words."""
    lines = [HEADER, "|---|---|---|---|---|"]
    for way in ways:
        means, errors = way.scores.figures(), way.scores.errors()
        cells = [f"{means[name]:.3f} ± {errors[name]:.3f}" for name in means]
        lines.append(f"| {way.name} | {' | '.join(cells)} | {way.distinct:.1f} |")
    bar = ways[0].scores.figures(), ways[0].scores.errors()
    wanted = {name: bar[0][name] + 2 * bar[1][name] for name in bar[0]}
    cells = [f"{value:.3f}" for value in wanted.values()]
    lines.append(f"| most frequent tags + 2 standard errors | {' | '.join(cells)} | |")
    domain = run.domain
    every = [tag for i in domain.with_tags("test") for tag in domain.tagged.tags[i]]
    missing = np.mean([tag not in set(domain.vectors.words) for tag in every])
    figures = [way.scores.figures() for way in ways[2:]]
    beaten = all(each[name] > wanted[name] for each in figures for name in wanted)
    lines += [
        "",
        f"Step {run.step}, {len(ways[0].found)} test images. {len(domain.vectors.words)} words "
        f"have a vector, and {missing:.1%} of the test images' tags have none. The GAN "
        f"{'beats' if beaten else 'does not beat'} the most frequent tags by two standard errors "
        "in all figures and seeds.",
    ]
    return "\n".join(lines)


def sheet(run: TrainedTagger, ways: list[Tagged]) -> np.ndarray | None:
    """Draws test images with the tags of the first seed, and below them those of neighbours.

    The first are those on which the GAN leads most by precision, the last those on which it falls
    behind most. A right tag has a star.
    """
    domain, (neighbours, gan) = run.domain, ways[1:3]
    rows = domain.with_tags("test")
    lead = gan.scores.precision - neighbours.scores.precision
    order = np.argsort(-lead, kind="stable")
    chosen = np.concatenate([order[:SHOWN], order[-SHOWN:]])
    pictures = domain.pixels(rows[chosen])
    if pictures is None:
        return None

    def starred(way):
        own = [set(domain.tagged.tags[rows[i]]) for i in chosen]
        return [
            [(f"{word} *" if word in right else word, votes) for word, votes in way.found[i]]
            for i, right in zip(chosen, own, strict=True)
        ]

    both = [tag_sheet(pictures, starred(way), 2 * SHOWN) for way in (gan, neighbours)]
    height = max(each.shape[0] for each in both)
    padded = [np.pad(each, ((0, height - len(each)), (0, 0), (0, 0))) for each in both]
    return images.grid(np.stack(padded), 1, 12)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", type=shared_flags.path, required=True)
    parser.add_argument("--which", default="best", help="the checkpoint: best, last or a step")
    parser.add_argument("--out", type=arguments.file, help="where the table goes, a .md file")
    parser.add_argument("--sheet", type=arguments.file, help="where the picture goes, a .png file")
    args = parser.parse_args()
    run, ways = measure(args.workdir, args.which)
    text = report(run, ways)
    print(text)
    if args.out is not None:
        storage.write_text(args.out, text + "\n")
    if args.sheet is not None and (picture := sheet(run, ways)) is not None:
        images.save_png(args.sheet, picture)


if __name__ == "__main__":
    main()
