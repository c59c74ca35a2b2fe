"""Time a training step by history length at the same number of tokens: ``python -m benchmarks.scaling --plot FILE``."""

from __future__ import annotations

from benchmarks import models, timing

TOKENS = 12_800
LENGTHS = [50, 100, 200, 400, 800, 1600, 3200]


def plot(figures: list[dict], path: str) -> None:
    """Plot seconds per step by length, one line a model.

    Args:
        figures: result of :func:`benchmarks.models.measure`.
        path: file to write; its suffix, ``.png`` or ``.svg``, decides the format.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for model in dict.fromkeys(entry["model"] for entry in figures):
        entries = [entry for entry in figures if entry["model"] == model]
        ax.plot(
            [entry["length"] for entry in entries],
            [entry["median"] for entry in entries],
            label=model,
            marker="o",
            markersize=4,
            linestyle="--" if "full scan" in model else "-",
            linewidth=2 if "Mamba4Rec" in model else 1.2,
        )
    ax.set(xscale="log", yscale="log", xlabel="history length L", ylabel="seconds per training step")
    ax.set_xticks(sorted({entry["length"] for entry in figures}), minor=False)
    ax.get_xaxis().set_major_formatter(matplotlib.ticker.ScalarFormatter())
    ax.minorticks_off()
    ax.set_title(f"{TOKENS} tokens a step, two CPU threads", fontsize=10)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, frameon=False)
    fig.savefig(path, dpi=130)


def main() -> None:
    shapes = [f"{TOKENS // length}x{length}" for length in LENGTHS]
    parser = models.make_parser(__doc__, shapes=shapes, repetitions=3)
    parser.add_argument("--plot", metavar="FILE", help="plot the figures to this file, PNG or SVG")
    options = parser.parse_args()
    figures = models.measure("training step", "train_step", options)
    if options.plot:
        timing.write_plot(options.plot, lambda temporary: plot(figures, temporary))


if __name__ == "__main__":
    main()
