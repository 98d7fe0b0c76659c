"""Writes the benchmarks' results as Markdown and as a plot."""

from pathlib import Path

from experiments.benchmarks import loop
from experiments.benchmarks.clock import OURS, RUN
from experiments.benchmarks.ours import TIMED
from experiments.benchmarks.rows import BASE, EAGER, GROWTH, NAMES, PEAKS, SHARE
from ganjax.runtime import storage

AXES = {"batch_size": "batch", "width": "F", "image_size": "height and width, pixels"}
LOOP_PARTS = ("data and logging", *loop.PARTS.values(), loop.FIGURES)
HEADER = (
    "| row | batch | ganjax, s | peers, s (ganjax / peer) | compile, s: cold, warm cache "
    "| peak MiB: ganjax cold, warm | peak MiB: peers |"
)


def markdown(results: dict) -> str:
    """Returns the results that `python -m experiments.benchmarks` has so far as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    rows = results["rows"]
    text = [
        f"{results['date']}: {results['processor']}, {results['threads']} threads each side, load "
        f"{results['load_before']:.2f} before; {versions}.",
        "",
        f"Medians over rounds of {RUN} steps in a row (2 for Flax), in float32, the contenders "
        "alternating; ratios are those of the medians, below 1 where ganjax is faster. Before the "
        "clock starts both sides are shown to compute the same in float64. Memory is the peak of "
        "the resident memory of processes of one side alone; that of PyTorch, and of ganjax with a "
        f"warm cache, is the median of {PEAKS} processes. Rows without a peer are timed over "
        f"{TIMED} steps in a row.",
    ]
    steps = [name for name in NAMES if name != SHARE and name in rows]
    if steps:
        text += ["", HEADER, "|---" * 7 + "|", *(_step(name, rows[name]) for name in steps)]
    if SHARE in rows:
        text += ["", _share(rows[SHARE])]
    if results.get("loops"):
        text += ["", *_loops(results["loops"])]
    if results.get("growth"):
        text += ["", *_growth(results["growth"])]
    return "\n".join(text) + "\n"


def _step(name: str, row: dict) -> str:
    cells = [f"`{name}`", str(row.get("batch_size", ""))]
    seconds, peaks = row.get("seconds", {}), dict(row.get("peak_mib", {}))
    compiled = row.get("compile_seconds", {})
    peers = []
    for peer, ratio in row.get("ratios", {}).items():
        peers.append(f"{peer} {_short(seconds[peer]['median'])} ({ratio['of_medians']:.2f})")
    if "error" in row:
        peers.append(row["error"].replace("|", r"\|"))
    ours = [peaks.pop(f"{OURS}, {kind}", None) for kind in ("cold", "warm")]
    cells += [
        _short(seconds[OURS]["median"]) if seconds else "",
        "; ".join(peers),
        ", ".join(f"{value:.1f}" for value in compiled.values()),
        ", ".join(f"{value:,.0f}" for value in ours if value is not None),
        "; ".join(f"{peer} {value:,.0f}" for peer, value in peaks.items()),
    ]
    return "| " + " | ".join(cells) + " |"


def _share(row: dict) -> str:
    if "error" in row:
        return f"Convolutions: {row['error']}"
    return (
        f"Convolutions of `dcgan:celeb_a`, batch 32, all maps of all layers: {row['gflops']:.0f} "
        f"GFLOP/s, {row['share']:.2f} of the matrix product's {row['matmul_gflops']:.0f} in the "
        f"same run ({row['share_of_processor_time']:.2f} by processor time)."
    )


def _loops(loops: dict[str, dict]) -> list[str]:
    lines = [
        "The loop against the bare step at the shipped cadence; the parts are shares of the bare "
        "step, and the loop is without the figures of evaluations. Beside it is a usual loop of "
        "PyTorch, which evaluates nothing, and the time of a step of ours as a share of its:",
        "",
        f"| config | bare, s | loop / bare | {' | '.join(f'{part}, %' for part in LOOP_PARTS)} "
        "| PyTorch's bare, s | its loop / bare | loop / its loop |",
        "|---" * (6 + len(LOOP_PARTS)) + "|",
    ]
    for name, found in loops.items():
        cells = [f"`{name}`"]
        if "error" in found:
            cells += [found["error"].replace("|", r"\|"), *[""] * (4 + len(LOOP_PARTS))]
        else:
            parts = loop.shares(found)
            cells += [_short(found["bare"]), f"{found['ratio']:.3f}"]
            cells += [f"{100 * parts[part]:.1f}" for part in LOOP_PARTS]
            cells += _beside(found)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _beside(found: dict) -> list[str]:
    """Returns the cells of a loop's peer, empty ones where there is none."""
    peer = found.get("peer")
    if not peer:
        return [""] * 3
    if "error" in peer:
        return [peer["error"].replace("|", r"\|"), "", ""]
    ours, its = (each["bare"] * each["ratio"] for each in (found, peer))
    return [_short(peer["bare"]), f"{peer['ratio']:.3f}", f"{ours / its:.2f}"]


def _growth(points: list[dict]) -> list[str]:
    lines = [
        f"`dcgan:celeb_a` by size, and {EAGER}; F is the width of the outermost layers. Here "
        "the two are not shown to compute the same:",
        "",
        f"| batch | F | pixels | ganjax, s | {EAGER}, s | ratio |",
        "|---" * 6 + "|",
    ]
    for point in points:
        cells = [str(point[axis]) for axis in BASE]
        if "error" in point:
            cells += [point["error"].replace("|", r"\|"), "", ""]
        else:
            cells += [_short(point["seconds"][name]["median"]) for name in (OURS, EAGER)]
            cells.append(f"{point['ratios'][EAGER]['of_medians']:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _short(seconds: float) -> str:
    """Formats seconds with three significant digits, never in scientific notation."""
    return f"{seconds:#.3g}" if seconds < 100 else f"{seconds:.0f}"


def plot(points: list[dict], path: Path) -> None:
    """Plots seconds a step against each axis of `GROWTH`, on logarithmic scales.

    Args:
      points: the results of `experiments.benchmarks.rows.grow`.
      path: the file to write, an .svg or .png.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, len(GROWTH), sharey=True)
    for axis, panel in zip(GROWTH, panels, strict=True):
        others = {name: value for name, value in BASE.items() if name != axis}
        line = [
            point
            for point in sorted(points, key=lambda point: point[axis])
            if "seconds" in point and others.items() <= point.items()
        ]
        for name in (OURS, EAGER):
            panel.loglog(
                [point[axis] for point in line],
                [point["seconds"][name]["median"] for point in line],
                "o-",
                base=2,
                label=name,
            )
        panel.set_xlabel(AXES[axis])
        panel.set_title(
            ", ".join(f"{AXES[name]} {value}" for name, value in others.items()), size=8
        )
        panel.set_xticks(GROWTH[axis], map(str, GROWTH[axis]))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds a step")
    panels[0].legend()
    with storage.replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:])
