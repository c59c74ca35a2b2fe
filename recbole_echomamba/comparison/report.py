"""A comparison as Markdown, CSV, LaTeX and one HTML page with its plots."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
from recbole.evaluator import smaller_metrics

from recbole_echomamba import report
from recbole_echomamba.comparison.compare import Comparison, has_own_loss
from recbole_echomamba.comparison.plots import accuracy_and_speed, deviation, hit_rate_by, learning_curves
from recbole_echomamba.comparison.statistics import Difference, differences
from recbole_echomamba.report import Table
from recbole_echomamba.system.files import write_text, write_whole


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
    notes = {
        "Test metrics": metrics_note(comparison),
        "Cost": cost_note(comparison),
        "Significance": significance_note(comparison, k),
    }
    for name, (picture, _) in pictures.items():
        write_whole(out / f"{name}.png", lambda file, picture=picture: Path(file).write_bytes(picture))
    write_text(out / "runs.csv", runs_table(comparison).csv())
    write_text(out / "summary.csv", summary_table(comparison, tested).csv())
    (out / "report.tex").unlink(missing_ok=True)  # of an earlier comparison
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
        seconds = np.mean([np.median([entry["seconds"] for entry in result["history"]]) for result in results])
        times = [f"{seconds:.2f}", f"{mean['users_per_second']:,.0f}"]
        rows.append([label, f"{results[0]['parameters']:,}", *counts, *times, memory])
    return Table(header, rows)


COST_KEYS = ("best_epoch", "epochs", "seconds_per_epoch", "users_per_second", "peak_memory")


def cost_note(comparison: Comparison) -> str:
    """What the costs are, and whether they can be held against each other."""
    machines = {json.dumps(result.get("machine")) for results in comparison.results.values() for result in results}
    where = (
        "on the machine of the runs"
        if len(machines) == 1
        else "ON DIFFERENT MACHINES (see runs.csv): they do not compare"
    )
    return (
        "Seconds of training per epoch (median of a run's epochs) and users scored per second in the test, "
        f"{where}; peak memory is that of the GPU where there is one, else of the whole process. "
        "Parameters include the item embedding."
    )


def significance_table(tested: list[Difference], baseline: str, k: int) -> Table:
    """Each row's difference from the baseline in NDCG per user."""
    header = [f"against {baseline}", f"NDCG@{k} difference", "95% interval", "p (Holm)", "effect size d"]
    rows = [
        [d.label, f"{d.mean:+.4f}", f"{d.low:+.4f} to {d.high:+.4f}", _p_value(d.p), f"{d.effect:+.3f}"] for d in tested
    ]
    return Table(header, rows)


def significance_note(comparison: Comparison, k: int) -> str:
    """What the test is, for readers of the report."""
    kinds = {results[0]["model"] for results in comparison.results.values()}
    baseline = "the best other model on validation" if len(kinds) > 1 else "the first row"
    return (
        f"Paired t-test over users on NDCG@{k} averaged over seeds, two-sided, corrected by Holm for the number of rows; d is "
        f"the mean difference over its standard deviation across users. The baseline is {baseline}. "
        "The test is over users: it does not tell how far a result moves with another seed, the ± above does."
    )


def metrics_note(comparison: Comparison) -> str:
    """What all rows have in common, and what variants change."""
    first, config = comparison.first, next(iter(comparison.configs.values()))
    no_choice = [label for label, c in comparison.configs.items() if has_own_loss(c)]
    losses = f"; a loss of their own: {', '.join(no_choice)}" if no_choice else ""
    loss = next((c["loss_type"] for c in comparison.configs.values() if not has_own_loss(c)), "none")
    patience = f"{config['stopping_step'] + 1} validations in a row without a better {config['valid_metric']}"
    return (
        f"The same for every model: data {comparison.dataset} (sha256 {first['data_hash'][:10]}), each user's last item tests "
        f"and the one before it validates, all items ranked, at most {config['MAX_ITEM_LIST_LENGTH']} items of history, "
        f"loss {loss}{losses}, up to {config['epochs']} epochs with batches of {config['train_batch_size']}, stopped after "
        f"{patience}; seeds {_seeds(comparison)}. Mean ± standard deviation over seeds.{_changes(comparison)}"
    )


def _changes(comparison: Comparison) -> str:
    first = next(iter(comparison.configs.values()))
    variants = {label: config for label, config in comparison.configs.items() if config["variant"] is not None}
    changed = {
        label: ", ".join(
            f"{key} {value}"
            for key, value in config.settings.items()
            if key != "variant" and value != first.settings.get(key)
        )
        for label, config in variants.items()
    }
    return "".join(f" {label} has {what}." for label, what in changed.items())


def _seeds(comparison: Comparison) -> str:
    by_label = {
        label: ", ".join(str(result["seed"]) for result in results) for label, results in comparison.results.items()
    }
    if len(set(by_label.values())) == 1:
        return next(iter(by_label.values()))
    return "; ".join(f"{seeds} of {label}" for label, seeds in by_label.items())


def runs_table(comparison: Comparison) -> Table:
    """One row per run with everything that is a number."""
    plain, machine = (
        ("variant", "seed", "config_hash", "data_hash", "parameters", *COST_KEYS),
        ("processor", "gpu", "threads"),
    )
    valid, test = (list(comparison.first[part]) for part in ("best_valid_result", "test_result"))
    header = [
        "label",
        "model",
        *plain,
        *machine,
        *(f"valid {name}" for name in valid),
        *(f"test {name}" for name in test),
    ]
    rows = [
        [
            *(label, result["model"], *(result[key] for key in plain)),
            *(result.get("machine", {}).get(key) for key in machine),
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
        spread = [number for value in values for number in (value.mean(), deviation(value))]
        d = by_label.get(label)
        against = [comparison.baseline, d.mean, d.low, d.high, d.p, d.effect] if d else [""] * 6
        rows.append([label, len(results), *spread, *against])
    return Table(header, rows)


def _cutoff(comparison: Comparison) -> int:
    """The ``k`` that models are chosen by, or the largest where the validation metric has none."""
    config = next(iter(comparison.configs.values()))
    _, at, k = str(config["valid_metric"]).partition("@")
    return int(k) if at else max(config["topk"])


def _markdown(title, comparison, tables, notes, pictures) -> str:
    parts = [f"# {title}\n", *(f"**{line}**\n" for line in not_finished(comparison))]
    parts += [f"## {name}\n\n{table.markdown()}\n{notes[name]}\n" for name, table in tables.items()]
    parts += [f"![{caption}]({name}.png)\n\n{caption}\n" for name, (_, caption) in pictures.items()]
    return "\n".join([*parts, f"{_made_with(comparison)}\n"])


def _html(title, comparison, tables, notes, pictures) -> str:
    parts = [f"<p><strong>{html.escape(line)}</strong></p>\n" for line in not_finished(comparison)]
    parts += [
        report.section(name) + table.html() + f"<p>{html.escape(notes[name])}</p>\n" for name, table in tables.items()
    ]
    parts += [report.section("Plots"), *(report.image(*picture) for picture in pictures.values())]
    parts += [report.section("Runs", _made_with(comparison)), runs_page_table(comparison).html()]
    return report.page(title, *parts)


def not_finished(comparison: Comparison) -> list[str]:
    """A line on the runs that were asked for and are missing; none when all are there."""
    listed = ", ".join(f"{label} with seed {seed}" for label, seed in comparison.missing)
    return [f"Not finished, and not in this report: {listed}."] if listed else []


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
        lists = [", ".join(f"{name} {value}" for name, value in result.get(key, {}).items()) for result in results]
        return "; ".join(dict.fromkeys(lists))

    return f"Machine: {all_of('machine')}. Versions: {all_of('versions')}."


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.4f} ± {deviation(values):.4f}" if len(values) > 1 else f"{values.mean():.4f}"


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
