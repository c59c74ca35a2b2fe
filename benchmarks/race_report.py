"""Draw the curves of :mod:`benchmarks.time_to_accuracy`, and say when each contender reached which NDCG@10."""

from __future__ import annotations

from pathlib import Path

from benchmarks import timing
from recbole_echomamba.report import Table, new_figure
from recbole_echomamba.system.files import write_text

LEVELS = [0.10, 0.12, 0.14, 0.16, 0.18, 0.20]
MEASURES = {"ndcg": "all items ranked", "ndcg_unseen": "seen items left out"}
"""Name in a curve file to its protocol."""


def write_report(curves: dict[str, list[dict]], race: str, levels: list[float], folder: Path) -> None:
    """Write ``race.png`` and ``race.md``, and print the tables.

    Args:
        curves: contender to the lines of its curve file.
        race: the settings of the race.
        levels: values of NDCG@10 that contenders may reach.
        folder: where to write.
    """
    timing.write_plot(str(folder / "race.png"), lambda path: plot(curves, path))
    tables = "\n".join(
        f"{title[0].upper()}{title[1:]}, CPU seconds (wall seconds) to a validation NDCG@10:\n\n"
        + make_table(curves, measure, levels).to_markdown()
        for measure, title in MEASURES.items()
    )
    notes = (
        "Measuring takes no part in the seconds. A level counts as reached at the first measurement that shows it. "
        "Every process keeps freed memory. A contender with `times` reads the time between items, which the others do not.\n"
    )
    machine = next((curve[0]["processor"] for curve in curves.values()), "")
    text = f"# Time to accuracy\n\n{machine}; {race}.\n\n![NDCG@10 by CPU seconds](race.png)\n\n{tables}\n{notes}"
    write_text(folder / "race.md", text)
    print(tables)


def make_table(curves: dict[str, list[dict]], measure: str, levels: list[float]) -> Table:
    """Return when each contender reached each level, its best value and what it took to get there."""
    header = ["contender", *(f"{level:.2f}" for level in levels), "best", "at", "epochs"]
    rows = []
    for name, curve in curves.items():
        points = [line for line in curve if measure in line]
        if not points:
            continue
        reached = [next((point for point in points if point[measure] >= level), None) for level in levels]
        best = max(points, key=lambda point: point[measure])
        cells = [format_seconds(point) if point else "" for point in reached]
        rows.append([name, *cells, f"{best[measure]:.4f}", format_seconds(best), str(points[-1]["epochs"])])
    return Table(header, rows)


def format_seconds(point: dict) -> str:
    """Return CPU seconds, and wall seconds in brackets."""
    return f"{point['cpu']:.0f} ({point['wall']:.0f})"


def plot(curves: dict[str, list[dict]], path: str) -> None:
    """Plot validation NDCG@10 by CPU seconds, one line a contender, for both protocols side by side."""
    fig = new_figure(10, 4.5)
    axes = fig.subplots(1, len(MEASURES), sharex=True)
    for ax, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        for name, curve in curves.items():
            points = [line for line in curve if measure in line]
            ax.plot(
                [point["cpu"] for point in points],
                [point[measure] for point in points],
                label=name,
                marker="o",
                markersize=2.5,
                linestyle="-" if "all positions" in name else "--",
                linewidth=2 if "Mamba4Rec" in name else 1.2,
            )
        ax.set(xscale="log", xlabel="CPU seconds of training", ylabel="validation NDCG@10")
        ax.set_title(title, fontsize=10)
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=7, frameon=False)
    fig.savefig(path)
