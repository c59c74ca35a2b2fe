"""Write a page on one trained run, or on two side by side."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dataset_prep.words import count
from recbole_echomamba import report
from recbole_echomamba.comparison.statistics import choose_cutoff
from recbole_echomamba.experiment import load_run
from recbole_echomamba.inspection import filters, history, memory
from recbole_echomamba.inspection.parts import describe_evaluations, evaluate_without_parts, tabulate_evaluations
from recbole_echomamba.models.base import StateSpaceRecommender
from recbole_echomamba.recommendation.recommender import Recommender
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable, write_text

FILTER_NOTE = (
    "A filter multiplies the spectrum of every channel along the slots of the history by learned complex weights W. Frequency "
    "counts periods per window: 0 is the mean of all slots, the last a change from each slot to the next."
)
CHANNELS_CAPTION = (
    "Magnitude |W| by frequency and channel; channels are sorted by their sum. Bright columns are frequencies that the filter "
    "passes, dark ones those that it removes."
)
QUARTILES_CAPTION = (
    "Magnitude |W| by frequency: median over channels, with a band from the lower to the upper quartile. A line that falls to "
    "the right passes slow trends, one that rises passes changes from item to item."
)
RESPONSE_CAPTION = (
    "The same filters as weights of items: the impulse response, by how many slots back an item is. 0 is the item itself. Median "
    "over channels of the absolute weight, with a band from the lower to the upper quartile. The circular form wraps around: the "
    "far right are also the slots just ahead."
)
MEMORY_NOTE = (
    "Mamba chooses a step size delta for every item and channel; a state with decay A forgets by exp(-delta |A|) per item "
    f"and so remembers about 1 / (delta |A|) items. Measured on at least {memory.MIN_ITEMS:,} items of validation histories, or "
    "on all of them where there are fewer; padding is left out."
)
MEMORY_CAPTION = (
    "Which share of the values is below the one on the x axis, which is logarithmic. Above: step sizes; a line further right "
    "writes items more strongly and forgets the past faster. Below: memory lengths at the median step size; a line further right "
    "looks further back."
)
PARTS_NOTE = (
    "Validation metrics with one part switched off at inference, in all blocks: its last linear map is zero, its residual "
    "connection and normalisation stay. The model was trained with the part, so this shows how much the trained model relies "
    "on it, not how well it would do had it been trained without. The interval is over users; one that does not hold 0 is more "
    "than chance."
)
HISTORY_NOTE = (
    "For the items with the highest scores, by how much each item of the history raises the score: the score with the whole "
    "history less that without the item. The model reads the rest as if the item had never been there. The "
    f"{history.SHOWN_ITEMS} items with the largest effects are shown; one with a minus speaks against the recommendation. Items "
    "of the history can be recommended, too."
)
TRAINED_ON_ALL_NOTE = (
    "THIS MODEL WAS TRAINED ON THESE TARGETS TOO (train_on: all): the metrics say nothing about new ones."
)


@dataclass
class Section:
    """A part of the page: its title, a note in plain text on how to read it, and what is shown of one run, as HTML."""

    title: str
    note: str
    body: str


def inspect(
    run: Path | str,
    out: Path | str | None = None,
    config_dict: dict | None = None,
    model: str | type | None = None,
    other: Path | str | None = None,
    user: str | None = None,
) -> Path:
    """Write an HTML page about a trained model: what its filters, its Mamba layers and its parts do, as far as it has any.

    Args:
        run: the run directory.
        out: the file to write; ``inspection.html`` in the run directory by default.
        config_dict: settings to change, such as the device; see :func:`.load_run`.
        model: the class of a custom model or ``module:Class``, see :func:`.load_run`.
        other: the directory of a second run, to be shown beside the first.
        user: the id of a user, to show which items of the history the recommendations came from.

    Returns:
        The path of the page.

    Raises:
        MissingFileError: a run, its data or the folder of ``out`` does not exist.
        UserError: a run cannot be loaded, or the user is unknown.
    """
    out = Path(out) if out else Path(run) / "inspection.html"
    check_writable(out)
    models, runs = [], []
    for directory in [run] if other is None else [run, other]:
        loaded = load_run(directory, model, config_dict)
        if not len(loaded[4].dataset):
            raise UserError(f"{directory} has no validation part, on which a run is inspected")
        models.append(loaded[0]["model"])
        runs.append(make_sections(directory, loaded, user))
    labels = [f"{letter}: {name}" for letter, name in zip("AB", models, strict=False)] if other is not None else [""]
    title = f"Inside {report.join_names(models)}"
    date = f"<p>{report.state_date()}</p>\n"
    write_text(out, report.render_page(title, date, *render_side_by_side(labels, runs)))
    return out


def make_sections(run: Path | str, loaded: tuple, user: str | None) -> list[Section]:
    """Return what there is to show of a run.

    Args:
        run: the run directory.
        loaded: what :func:`.load_run` returns for it.
        user: the id of a user, or ``None``.
    """
    config, model, dataset, train, valid, _ = loaded
    k = choose_cutoff(config)
    evaluations = evaluate_without_parts(config, model, train, valid)
    headline, details = describe_evaluations(evaluations, config["model"], config["valid_metric"], k)
    sections = []
    if user is not None:
        recommender = Recommender(config, model, dataset, (run, None, None))
        explanation = history.explain_recommendations(recommender, user)
        body = history.render_explanation(recommender, explanation)
        sections.append(Section(f"What the recommendations for user {user} came from", HISTORY_NOTE, body))
    magnitudes = filters.compute_filter_magnitudes(model)
    if magnitudes:
        sections.append(Section("Spectral filters", FILTER_NOTE, _render_filters(model, magnitudes)))
    memories = memory.measure_memories(model, valid, config) if isinstance(model, StateSpaceRecommender) else {}
    if memories:
        plot = report.render_image(report.encode_png(memory.plot_memories(memories)), MEMORY_CAPTION)
        body = plot + memory.tabulate_memories(memories).to_html()
        sections.append(Section("Step sizes and memory", MEMORY_NOTE, body))
        details.append(memory.describe_memories(memories))
    has_parts = len(evaluations) > 1
    title = "What each part contributes" if has_parts else "Validation metrics"
    note = PARTS_NOTE if has_parts else "This model has no part that can be switched off."
    sections.append(Section(title, note, tabulate_evaluations(evaluations, k).to_html()))
    if config["train_on"] == "all":
        details.append(TRAINED_ON_ALL_NOTE)
    body = report.render_verdict(headline, details) + _describe_run(run, config, model)
    return [Section("Run", "", body), *sections]


def render_side_by_side(labels: list[str], runs: list[list[Section]]) -> list[str]:
    """Return the sections as HTML; those of the same title stand side by side, below one note.

    Args:
        labels: what to write above the sections of each run; nothing where it is empty.
        runs: the sections of each run.
    """
    notes: dict[str, str] = {}
    columns: dict[str, str] = {}
    for label, sections in zip(labels, runs, strict=True):
        heading = f"<p><strong>{html.escape(label)}</strong></p>\n" if label else ""
        for section in sections:
            notes[section.title] = section.note
            columns[section.title] = columns.get(section.title, "") + f"<div>{heading}{section.body}</div>\n"
    parts = []
    for title, note in notes.items():
        parts.append(report.render_section(title, *([note] if note else [])))
        parts.append(f'<div class="side">{columns[title]}</div>\n')
    return parts


def _describe_run(run: Path | str, config, model: nn.Module) -> str:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    text = (
        f"{config['model']} on {config['dataset']}, seed {config['seed']}, {count(parameters, 'parameter')}, "
        f"kept in {Path(run).resolve().name}."
    )
    return f"<p>{html.escape(text)}</p>\n"


def _render_filters(model: nn.Module, magnitudes) -> str:
    responses = {name: kernel.abs() for name, kernel in filters.compute_impulse_responses(model).items()}
    quartiles = filters.plot_quartiles(magnitudes, "frequency (periods per window)", "|W|")
    response = filters.plot_quartiles(responses, "slots back", "absolute weight")
    pictures = [
        (filters.plot_channels(magnitudes), CHANNELS_CAPTION),
        (quartiles, QUARTILES_CAPTION),
        (response, RESPONSE_CAPTION),
    ]
    return report.render_images([report.render_image(report.encode_png(fig), caption) for fig, caption in pictures])
