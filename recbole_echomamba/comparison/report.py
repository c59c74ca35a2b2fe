"""Write a comparison as Markdown, CSV, LaTeX and one HTML page with its plots.

To extend the report:
    - a column: add an entry to :data:`.tables.COLUMNS`; it appears in the cost table and in ``runs.csv``.
    - a table with a note: add a :class:`Section` in :func:`make_sections`.
    - a plot with a caption: add a :class:`Picture` in :func:`make_pictures`.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dataset_prep.words import count
from recbole_echomamba import report
from recbole_echomamba.comparison import plots, tables
from recbole_echomamba.comparison.compare import ROWS_FILE, Comparison, describe_rows
from recbole_echomamba.comparison.contenders import has_fixed_loss
from recbole_echomamba.comparison.statistics import Difference, choose_cutoff, compare_with_baseline
from recbole_echomamba.comparison.verdict import Verdict, list_changes, list_forms, list_seeds, reach_verdict
from recbole_echomamba.report import Table
from recbole_echomamba.system.files import remove_leftovers, write_atomically, write_text

UNSEEN_NOTE = (
    "The same models and targets, with the items of each user's history taken out of the ranking, as most code outside RecBole "
    "does. Figures of the two protocols cannot be compared with each other."
)


@dataclass
class Section:
    """A table of the report with a title, and a note below it in plain text."""

    title: str
    table: Table
    note: str


@dataclass
class Picture:
    """A plot of the report: the name of its file without ``.png``, its content and its caption in plain text."""

    name: str
    png: bytes
    caption: str


def write_report(comparison: Comparison, out: Path | str, latex: bool = False) -> Path:
    """Write the report as HTML, Markdown, CSV and plots, ``rows.json`` that says what it is on, and on demand ``report.tex``.

    Args:
        comparison: the results.
        out: the folder of the comparison, which exists. Files of an earlier report in it are replaced.
        latex: also write the tables for a LaTeX document.

    Returns:
        The path of ``report.html``.

    Raises:
        UserError: rows were tested on different targets.
    """
    out = Path(out)
    (out / "runs").mkdir(exist_ok=True)
    with FileLock(out / "runs" / ".report.lock"):
        # of a comparison that was killed; none other writes its report now
        remove_leftovers(out)
        return _write_report(comparison, out, latex)


def _write_report(comparison: Comparison, out: Path, latex: bool) -> Path:
    k = choose_cutoff(comparison.first_config)
    differences = compare_with_baseline(comparison, k)
    verdict = reach_verdict(comparison, differences, k)
    sections = make_sections(comparison, differences, k)
    pictures = make_pictures(comparison, k)
    for picture in pictures:
        write_atomically(out / f"{picture.name}.png", lambda file, png=picture.png: Path(file).write_bytes(png))
    write_text(out / "runs.csv", tables.tabulate_runs(comparison).to_csv())
    write_text(out / "summary.csv", tables.tabulate_summary(comparison, differences).to_csv())
    # An earlier report may have left this file; without ``latex`` it would not match the others.
    (out / "report.tex").unlink(missing_ok=True)
    if latex:
        text = "\n".join(f"% {section.title}\n{section.table.to_latex()}" for section in sections)
        write_text(out / "report.tex", text)
    write_text(out / "report.md", render_markdown(comparison, verdict, sections, pictures))
    write_text(out / "report.html", render_html(comparison, verdict, sections, pictures))
    write_text(out / ROWS_FILE, json.dumps(describe_rows(comparison.configs), indent=2) + "\n")
    return out / "report.html"


def make_sections(comparison: Comparison, differences: list[Difference], k: int) -> list[Section]:
    """Return the tables of the report in order, each with its note."""
    sections = [Section("Test metrics", tables.tabulate_metrics(comparison), describe_setup(comparison))]
    if comparison.has_unseen:
        table = tables.tabulate_metrics(comparison, "test_result_unseen")
        sections.append(Section("Test metrics, seen items left out", table, UNSEEN_NOTE))
    sections.append(Section("Cost", tables.tabulate_costs(comparison), describe_costs(comparison)))
    if differences:
        table = tables.tabulate_differences(differences, comparison.baseline, k)
        sections.append(Section("Significance", table, describe_test(comparison, k)))
        if comparison.has_unseen:
            unseen = compare_with_baseline(comparison, k, "rank_unseen")
            table = tables.tabulate_differences(unseen, comparison.baseline, k)
            sections.append(Section("Significance, seen items left out", table, "The same test on the other protocol."))
    return sections


def make_pictures(comparison: Comparison, k: int) -> list[Picture]:
    """Draw the plots of the report, in order, each with a caption that says how to read it."""
    metric = comparison.first_config["valid_metric"]
    hit_rate = (
        f"Hit@{k} is the share of users whose test item is among the first {k}; the number of users of each group is in "
        "brackets."
    )
    bars = (
        "Bars are one standard error over users; all rows are tested on the same users, so overlapping bars do not show that "
        "two rows are equal."
    )
    return [
        Picture(
            "learning_curves",
            report.encode_png(plots.plot_learning_curves(comparison)),
            f"Validation {metric} by epoch. Thick lines are means over seeds with a band of one standard deviation, up to the "
            "epoch where the first seed stops; thin lines are single seeds. Each dot is the best epoch of a seed, whose weights "
            "are tested. A dot at the end of its line was still improving.",
        ),
        Picture(
            "accuracy_and_speed",
            report.encode_png(plots.plot_accuracy_and_speed(comparison, k)),
            f"Test NDCG@{k} against users scored per second: higher is more accurate, further right is faster. Points are means "
            "over seeds, bars one standard deviation; a row with one seed has none.",
        ),
        Picture(
            "history",
            report.encode_png(plots.plot_hit_rate(comparison, k, "history")),
            f"Accuracy for short and long histories. {hit_rate} {bars}",
        ),
        Picture(
            "popularity",
            report.encode_png(plots.plot_hit_rate(comparison, k, "popularity")),
            f"Accuracy for rare and popular items, by how often the target occurs outside the test. {hit_rate} {bars}",
        ),
    ]


def describe_setup(comparison: Comparison) -> str:
    """Say what all rows have in common, and what each variant changes."""
    config = comparison.first_config
    own_loss = [label for label, each in comparison.configs.items() if has_fixed_loss(each)]
    common_loss = next((each["loss_type"] for each in comparison.configs.values() if not has_fixed_loss(each)), "none")
    other_losses = f" (except {', '.join(own_loss)}, with their own)" if own_loss else ""
    patience = f"{count(config['stopping_step'] + 1, 'validation')} in a row below the best {config['valid_metric']}"
    length, epochs = count(config["MAX_ITEM_LIST_LENGTH"], "item"), count(config["epochs"], "epoch")
    return (
        f"The same for every model: data {comparison.dataset} (sha256 {comparison.first_result['data_hash'][:10]}), "
        "the last item of each user held out for the test and the one before it for validation, all items ranked, at most "
        f"{length} of history, loss {common_loss}{other_losses}, up to {epochs} "
        f"with batches of {config['train_batch_size']}, stopped after {patience}; seeds {list_seeds(comparison)}. "
        f"Interactions are ordered by time, {describe_time_order(config)}. {_list_forms(comparison)}"
        f"Mean ± standard deviation over seeds.{_list_changes(comparison)}"
    )


def describe_time_order(config) -> str:
    """Say how times are compared: on many datasets it decides which item is the last."""
    if config["exact_time_order"]:
        return "compared exactly, with equal times in the order of the file"
    return "rounded to float32 as in RecBole, with equal times in the order of the file"


def describe_costs(comparison: Comparison) -> str:
    """Say what the cost table measures, and whether its rows can be compared."""
    machines = {json.dumps(result.get("machine")) for results in comparison.results.values() for result in results}
    where = "on the machine of the runs"
    if len(machines) > 1:
        where = "ON DIFFERENT MACHINES (see runs.csv), so they cannot be compared"
    return (
        "Seconds of training per epoch (median of a run's epochs) and users scored per second in the test, "
        f"{where}; peak memory is that of the GPU where there is one, else of the whole process. "
        "Parameters include the item embedding."
    )


def describe_test(comparison: Comparison, k: int) -> str:
    """Say how significance was tested and what the baseline is."""
    models = {results[0]["model"] for results in comparison.results.values()}
    baseline = "the best other model on validation" if len(models) > 1 else "the first row"
    return (
        f"Paired t-test over users on NDCG@{k} averaged over seeds, two-sided, corrected by Holm for the number of rows; d is "
        f"the mean difference over its standard deviation across users. The baseline is {baseline}. "
        "The test is over users; how much a result changes with the seed is shown by the ± above."
    )


def describe_origin(comparison: Comparison) -> str:
    """Name the machine and the versions of the runs; where runs differ, each of them."""
    results = [result for results in comparison.results.values() for result in results]

    def list_distinct(key: str) -> str:
        texts = [", ".join(f"{name} {value}" for name, value in result.get(key, {}).items()) for result in results]
        return "; ".join(dict.fromkeys(texts))

    return f"Machine: {list_distinct('machine')}. Versions: {list_distinct('versions')}."


def render_markdown(comparison: Comparison, verdict: Verdict, sections: list[Section], pictures: list[Picture]) -> str:
    """Return the report as Markdown, with links to the files of the plots."""
    escape = report.escape_markdown
    parts = [f"# {escape(_make_title(comparison))}\n"]
    parts += [f"**{escape(verdict.headline)}**\n"]
    parts += ["".join(f"- {escape(line)}\n" for line in verdict.details)]
    parts += [f"{report.state_date()}\n"]
    parts += [f"## {section.title}\n\n{section.table.to_markdown()}\n{escape(section.note)}\n" for section in sections]
    for picture in pictures:
        caption = escape(picture.caption)
        parts.append(f"![{caption.partition('. ')[0]}]({picture.name}.png)\n\n{caption}\n")
    parts += [f"{escape(describe_origin(comparison))}\n"]
    return "\n".join(parts)


def render_html(comparison: Comparison, verdict: Verdict, sections: list[Section], pictures: list[Picture]) -> str:
    """Return the report as one HTML page that contains its plots."""
    parts = [report.render_verdict(verdict.headline, verdict.details), f"<p>{report.state_date()}</p>\n"]
    for section in sections:
        parts += [
            report.render_section(section.title),
            section.table.to_html(),
            f"<p>{html.escape(section.note)}</p>\n",
        ]
    parts += [report.render_section("Plots")]
    parts += [report.render_images([report.render_image(picture.png, picture.caption) for picture in pictures])]
    parts += [
        report.render_section("Runs", describe_origin(comparison)),
        tables.tabulate_run_overview(comparison).to_html(),
    ]
    return report.render_page(_make_title(comparison), *parts)


def _make_title(comparison: Comparison) -> str:
    return f"{report.join_names(comparison.results)} on {comparison.dataset}"


def _list_changes(comparison: Comparison) -> str:
    """Return a sentence for each variant with the settings that differ from those of the first row."""
    changes = {label: list_changes(config, comparison.first_config) for label, config in comparison.configs.items()}
    return "".join(f" {label} has {', '.join(changed)}." for label, changed in changes.items() if changed)


def _list_forms(comparison: Comparison) -> str:
    """Return a sentence for each row that uses the causal variant, all positions, or times."""
    forms = {label: list_forms(config) for label, config in comparison.configs.items()}
    return "".join(f"{label} {' and '.join(of_row)}. " for label, of_row in forms.items() if of_row)
