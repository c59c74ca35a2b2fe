"""A training step by history length, the number of tokens held: ``python -m benchmarks.scaling --plot FILE``."""

from __future__ import annotations

from benchmarks import models, timing

TOKENS = 12_800
LENGTHS = [50, 100, 200, 400, 800, 1600, 3200]


def plot(figures: list[dict], file: str) -> None:
    """Seconds per step by length, a line per model; PNG or SVG by the file's ending."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for model in dict.fromkeys(entry["model"] for entry in figures):
        points = [(entry["length"], entry["median"]) for entry in figures if entry["model"] == model]
        ours = "Mamba4Rec" in model
        style = {"marker": "o", "markersize": 4, "linestyle": "--" if "full scan" in model else "-"}
        axes.plot(*zip(*points, strict=True), label=model, linewidth=2 if ours else 1.2, **style)
    axes.set(xscale="log", yscale="log", xlabel="history length L", ylabel="seconds per training step")
    axes.set_xticks(sorted({entry["length"] for entry in figures}), minor=False)
    axes.get_xaxis().set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axes.minorticks_off()
    axes.set_title(f"{TOKENS} tokens a step, two CPU threads", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    parser = models.arguments(__doc__, shapes=[f"{TOKENS // length}x{length}" for length in LENGTHS], repetitions=3)
    parser.add_argument("--plot", metavar="FILE", help="draw it")
    flags = parser.parse_args()
    measured = models.measure("training step", "train_step", flags)
    if flags.plot:
        timing.draw(flags.plot, lambda temporary: plot(measured, temporary))
