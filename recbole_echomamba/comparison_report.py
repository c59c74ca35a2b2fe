"""A comparison as Markdown, CSV, LaTeX and one HTML page with its plots."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pandas as pd
from recbole.evaluator import smaller_metrics

from recbole_echomamba import report
from recbole_echomamba.comparison import Comparison, Difference, differences, has_own_loss
from recbole_echomamba.host.files import write_text, write_whole
from recbole_echomamba.report import Table

GROUPS = 5


def write_report(comparison: Comparison, out: Path | str, latex: bool = False) -> Path:
    """Write ``report.html``, ``report.md``, ``runs.csv``, ``summary.csv``, the plots, and with ``latex`` ``report.tex``.

    Returns the path of the page.
    """
    out = Path(out)
    k = _cutoff(comparison)
    tested = differences(comparison, k)
    tables = {"Test metrics": metrics_table(comparison), "Cost": cost_table(comparison)}
    if tested:
        tables["Significance"] = significance_table(tested, comparison.baseline, k)
    plots = {
        "learning_curves": (
            learning_curves(comparison),
            "Validation score by epoch, one line per seed; the dot is the best.",
        ),
        "accuracy_and_speed": (
            accuracy_and_speed(comparison, k),
            f"Test NDCG@{k} against users scored per second, mean and standard deviation over seeds.",
        ),
        "history": (
            hit_rate_by(comparison, k, "history"),
            f"Hit@{k} by number of interactions before the target; bars are standard errors over users.",
        ),
        "popularity": (
            hit_rate_by(comparison, k, "popularity"),
            f"Hit@{k} by how often the target occurs outside the test; bars are standard errors over users.",
        ),
    }
    title = f"{', '.join(comparison.results)} on {comparison.dataset}"
    pictures = {name: (report.png(drawn), caption) for name, (drawn, caption) in plots.items()}
    notes = {"Test metrics": metrics_note(comparison), "Cost": COST_NOTE, "Significance": significance_note(k)}
    for name, (picture, _) in pictures.items():
        write_whole(out / f"{name}.png", lambda file, picture=picture: Path(file).write_bytes(picture))
    write_text(out / "runs.csv", runs_table(comparison).csv())
    write_text(out / "summary.csv", summary_table(comparison, tested).csv())
    if latex:
        write_text(out / "report.tex", "\n".join(f"% {name}\n{table.latex()}" for name, table in tables.items()))
    write_text(out / "report.md", _markdown(title, comparison, tables, notes, pictures))
    write_text(out / "report.html", _html(title, comparison, tables, notes, pictures))
    return out / "report.html"


def metrics_table(comparison: Comparison) -> Table:
    """Mean and standard deviation of every test metric over the seeds, a column per label; the best means are marked."""
    rows, best, labels = [], set(), list(comparison.results)
    for number, name in enumerate(comparison.first["test_result"]):
        values = [comparison.test_metric(label, name) for label in labels]
        means = np.array([value.mean() for value in values])
        top = means.min() if name.partition("@")[0] in smaller_metrics else means.max()
        rows.append([name, *map(_spread, values)])
        best |= {(number, column + 1) for column in np.flatnonzero(means == top) if len(labels) > 1}
    return Table(["metric", *labels], rows, best)


def cost_table(comparison: Comparison) -> Table:
    """Parameters, time and memory of every row, means over the seeds."""
    header = ["model", "parameters", "best epoch", "epochs", "s/epoch", "users/s", "peak memory (MB)"]
    rows = []
    for label, results in comparison.results.items():
        mean = {key: np.mean([result[key] for result in results]) for key in COST_KEYS}
        memory = f"{mean['peak_memory'] / 1e6:,.0f}"
        counts = [f"{mean[key]:.3g}" for key in ("best_epoch", "epochs")]
        times = [f"{mean['seconds_per_epoch']:.2f}", f"{mean['users_per_second']:,.0f}"]
        rows.append([label, f"{results[0]['parameters']:,}", *counts, *times, memory])
    return Table(header, rows)


COST_KEYS = ("best_epoch", "epochs", "seconds_per_epoch", "users_per_second", "peak_memory")
COST_NOTE = (
    "Seconds of training per epoch and users scored per second in the test, on the machine of the runs; peak memory is that "
    "of the GPU where there is one, else of the whole process. Parameters include the item embedding."
)


def significance_table(tested: list[Difference], baseline: str, k: int) -> Table:
    """Each row's difference from the baseline in NDCG per user."""
    header = [f"against {baseline}", f"NDCG@{k} difference", "95% interval", "p (Holm)", "effect size d"]
    rows = [
        [d.label, f"{d.mean:+.4f}", f"{d.low:+.4f} to {d.high:+.4f}", _p_value(d.p), f"{d.effect:+.3f}"] for d in tested
    ]
    return Table(header, rows)


def significance_note(k: int) -> str:
    """What the test is, for readers of the report."""
    return (
        f"Paired t-test over users on NDCG@{k} averaged over seeds, two-sided, corrected by Holm for the number of rows; d is "
        "the mean difference over its standard deviation across users. The baseline is the best other model on validation. "
        "The test is over users: it does not tell how far a result moves with another seed, the ± above does."
    )


def metrics_note(comparison: Comparison) -> str:
    """What all rows have in common."""
    first, config = comparison.first, next(iter(comparison.configs.values()))
    no_choice = [label for label, c in comparison.configs.items() if has_own_loss(c)]
    losses = f"; a loss of their own: {', '.join(no_choice)}" if no_choice else ""
    loss = next((c["loss_type"] for c in comparison.configs.values() if not has_own_loss(c)), "none")
    return (
        f"The same for every model: data {comparison.dataset} (sha256 {first['data_hash'][:10]}), split "
        f"{config['eval_args']['split']} in time order, all items ranked, at most {config['MAX_ITEM_LIST_LENGTH']} items of "
        f"history, loss {loss}{losses}, up to {config['epochs']} epochs with batches of {config['train_batch_size']}, stopped "
        f"after {config['stopping_step']} validations without a better {config['valid_metric']}; seeds {_seeds(comparison)}. "
        "Mean ± standard deviation over seeds."
    )


def _seeds(comparison: Comparison) -> str:
    by_label = {
        label: ", ".join(str(result["seed"]) for result in results) for label, results in comparison.results.items()
    }
    if len(set(by_label.values())) == 1:
        return next(iter(by_label.values()))
    return "; ".join(f"{seeds} of {label}" for label, seeds in by_label.items())


def runs_table(comparison: Comparison) -> Table:
    """One row per run with everything that is a number."""
    plain = ("variant", "seed", "config_hash", "data_hash", "parameters", *COST_KEYS)
    valid, test = (list(comparison.first[part]) for part in ("best_valid_result", "test_result"))
    header = ["label", "model", *plain, *(f"valid {name}" for name in valid), *(f"test {name}" for name in test)]
    rows = [
        [
            *(label, result["model"], *(result[key] for key in plain)),
            *(result["best_valid_result"].get(name) for name in valid),
            *(result["test_result"][name] for name in test),
        ]
        for label, results in comparison.results.items()
        for result in results
    ]
    return Table(header, rows)


def summary_table(comparison: Comparison, tested: list[Difference]) -> Table:
    """One row per label: mean and deviation of every test metric, and the test against the baseline."""
    names = list(comparison.first["test_result"])
    by_label = {difference.label: difference for difference in tested}
    header = ["label", "seeds", *(f"{name} {part}" for name in names for part in ("mean", "sd"))]
    header += ["baseline", "difference", "low", "high", "p_holm", "effect_size"]
    rows = []
    for label, results in comparison.results.items():
        values = [comparison.test_metric(label, name) for name in names]
        spread = [number for value in values for number in (value.mean(), _deviation(value))]
        d = by_label.get(label)
        against = [comparison.baseline, d.mean, d.low, d.high, d.p, d.effect] if d else [""] * 6
        rows.append([label, len(results), *spread, *against])
    return Table(header, rows)


def learning_curves(comparison: Comparison):
    """Validation score by epoch."""
    drawn = report.figure()
    axes = drawn.subplots()
    for number, (label, results) in enumerate(comparison.results.items()):
        for seed, result in enumerate(results):
            history = [entry for entry in result["history"] if "valid_score" in entry]
            epochs, scores = ([entry[key] for entry in history] for key in ("epoch", "valid_score"))
            axes.plot(epochs, scores, f"C{number}", alpha=0.7, linewidth=1.3, label=None if seed else label)
            axes.plot(result["best_epoch"], result["best_valid_score"], f"C{number}o", markersize=5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="epoch", ylabel=f"validation {comparison.first['config']['valid_metric']}")
    axes.grid(alpha=0.3)
    axes.legend()
    return drawn


def accuracy_and_speed(comparison: Comparison, k: int):
    """NDCG against users per second."""
    drawn = report.figure()
    axes = drawn.subplots()
    for number, (label, results) in enumerate(comparison.results.items()):
        speed = np.array([result["users_per_second"] for result in results])
        score = comparison.test_metric(label, f"ndcg@{k}")
        axes.errorbar(
            *(speed.mean(), score.mean(), _deviation(score), _deviation(speed)),
            *(f"C{number}o",),
            capsize=3,
            label=label,
        )
    axes.set(xscale="log", xlabel="users scored per second", ylabel=f"test NDCG@{k}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return drawn


def hit_rate_by(comparison: Comparison, k: int, column: str):
    """Hit rate in groups of about equally many test targets, by ``history`` length or ``popularity`` of the target."""
    drawn = report.figure()
    axes = drawn.subplots()
    shift, popularity = 0.6 / len(comparison.results), comparison.popularity
    for number, label in enumerate(comparison.results):
        ranks = comparison.ranks(label)
        ranks["popularity"] = ranks["item"].map(popularity)
        ranks["history"] = ranks["user"].map(comparison.user_counts) - 1  # beyond the slots a model sees, too
        targets = (ranks["rank"] <= k).groupby([ranks["user"], ranks["item"]]).mean()
        values = ranks.groupby(["user", "item"])[column].first().astype(int)
        groups, names = grouped(values.to_numpy())
        rate = targets.groupby(groups).agg(["mean", "sem"])
        places = rate.index + (number - (len(comparison.results) - 1) / 2) * shift
        axes.errorbar(places, rate["mean"], rate["sem"].fillna(0), fmt="o-", linewidth=0.8, capsize=3, label=label)
    sizes = pd.Series(groups).value_counts()
    axes.set_xticks(range(len(names)), [f"{name}\n({sizes[i]:,} targets)" for i, name in enumerate(names)])
    xlabel = {"history": "interactions before the target", "popularity": "interactions of the target item"}[column]
    axes.set(xlabel=xlabel, ylabel=f"Hit@{k}", ylim=(0, None))
    axes.grid(alpha=0.3, axis="y")
    axes.legend()
    return drawn


def grouped(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Whole numbers in at most ``GROUPS`` groups of about equal size: the group of each, and the groups' names."""
    edges = np.unique(
        np.quantile(values, np.linspace(0, 1, GROUPS + 1)[1:], method="inverted_cdf")
    )  # last value of each
    groups = np.searchsorted(edges, values)
    ranges = [(values[groups == i].min(), values[groups == i].max()) for i in range(len(edges))]
    return groups, [str(low) if low == high else f"{low} to {high}" for low, high in ranges]


def _cutoff(comparison: Comparison) -> int:
    """The ``k`` that models are chosen by, or the largest where the validation metric has none."""
    config = next(iter(comparison.configs.values()))
    _, at, k = str(config["valid_metric"]).partition("@")
    return int(k) if at else max(config["topk"])


def _markdown(title, comparison, tables, notes, pictures) -> str:
    parts = [f"# {title}\n"]
    parts += [f"## {name}\n\n{table.markdown()}\n{notes[name]}\n" for name, table in tables.items()]
    parts += [f"![{caption}]({name}.png)\n\n{caption}\n" for name, (_, caption) in pictures.items()]
    return "\n".join([*parts, f"{_made_with(comparison)}\n"])


def _html(title, comparison, tables, notes, pictures) -> str:
    parts = [
        report.section(name) + table.html() + f"<p>{html.escape(notes[name])}</p>\n" for name, table in tables.items()
    ]
    parts += [report.section("Plots"), *(report.image(*picture) for picture in pictures.values())]
    parts += [report.section("Runs", _made_with(comparison)), runs_page_table(comparison).html()]
    return report.page(title, *parts)


def runs_page_table(comparison: Comparison) -> Table:
    """The runs in brief."""
    valid_metric = comparison.first["config"]["valid_metric"]
    header = ["run", "seed", "settings", "best epoch", "epochs", f"validation {valid_metric}"]
    rows = [
        [label, *(str(result[key]) for key in ("seed", "config_hash", "best_epoch", "epochs", "best_valid_score"))]
        for label, results in comparison.results.items()
        for result in results
    ]
    return Table(header, rows)


def _made_with(comparison: Comparison) -> str:
    """The machines and versions of all runs; where runs differ, each of them."""
    results = [result for results in comparison.results.values() for result in results]

    def all_of(key: str) -> str:
        lists = [", ".join(f"{name} {value}" for name, value in result[key].items()) for result in results]
        return "; ".join(dict.fromkeys(lists))

    return f"Machine: {all_of('machine')}. Versions: {all_of('versions')}."


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.4f} ± {_deviation(values):.4f}" if len(values) > 1 else f"{values.mean():.4f}"


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
