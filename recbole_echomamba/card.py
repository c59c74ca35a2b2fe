"""Write a model card from the facts of a run: Markdown, with the block of metadata that model hubs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dataset_prep.words import count
from recbole_echomamba.config.model_names import class_name
from recbole_echomamba.config.settings_hash import hashed_settings
from recbole_echomamba.data.recorded_table import read_recorded_table
from recbole_echomamba.data.vocabulary import read_vocabulary
from recbole_echomamba.report import Table, escape_markdown
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable, read_json, write_text
from recbole_echomamba.training.run_directory import RANKS_FILE, REPEAT_RUN, RESULT_FILE, is_current, read_settings

PAPERS = {
    "EchoMamba4Rec": "Wang, He & Zhu, [arXiv 2406.02638](https://arxiv.org/abs/2406.02638)",
    "Mamba4Rec": "Liu et al., [arXiv 2403.03900](https://arxiv.org/abs/2403.03900)",
}

PROTOCOLS = ("", "_unseen")
"""The ends of the keys of ``result.json`` that hold the metrics of a protocol, see :func:`_name_protocol`."""

GAIN = {
    "hit": np.ones_like,
    "ndcg": lambda rank: 1 / np.log2(rank + 1),
    "mrr": lambda rank: 1 / rank,
}
"""What a target at a rank within the cutoff adds to a metric, for metrics whose spread over targets is known."""

INTENDED_USE = """\
Research on sequential recommendation, and ranking the items of the data for people like those of the data, by their histories. It
is not meant for decisions on people."""

USE = """\
```python
from recbole_echomamba import Recommender

# the folder with config.yaml, model.safetensors, vocabulary.parquet and manifest.json
recommender = Recommender.load("FOLDER")
table = recommender.recommend(histories=[{history}], topk=10)
```

A history is a list of the dataset's own item ids, oldest first. A model that reads more than histories, and a custom one, also
need the data; a custom one its module, too."""

LIMITS = """\
- It knows {items}. Newer ones cannot be recommended before a model is trained again.
- It reads the last {length} items of a history, and nothing else of a person or an item{times}.
- A score orders items for one history. It is no probability, and cannot be compared between histories or models.
- The figures are on past interactions: what would have happened had people seen other items is not measured. Like any model
  trained on interactions, it repeats their biases, such as that to popular items. Fairness was not examined.
- This is one run with one seed; the spread over seeds is not known.{leak}
- `vocabulary.parquet`, `test_ranks.parquet` and `training_state.pt` of the run hold ids of its users. Publish them only if you
  may publish those."""

LEAK = """
- The users' histories end at different times: the training part holds interactions that are later than the test targets of
  other users."""


def write_card(run: Path | str, out: Path | str | None = None) -> Path:
    """Write the model card of a finished run.

    Args:
        run: the run directory.
        out: the file to write; ``README.md`` in the run directory by default, where hubs look for it.

    Returns:
        The path of the card.

    Raises:
        MissingFileError: the run directory or the folder of ``out`` does not exist.
        UserError: the run has no result yet, one of its files is damaged, or there is a card already, which may have been edited.
    """
    run, out = Path(run), Path(out or Path(run) / "README.md")
    check_writable(out, "--out")
    if out.exists():
        raise UserError(f"{out} exists and may have been edited; remove it, or name another file with --out")
    settings = read_settings(run)
    if not is_current(run / RESULT_FILE):
        raise UserError(f"{run} has no result of its present weights; finish it with: run --resume={run}")
    result = read_json(run / RESULT_FILE, REPEAT_RUN)
    try:
        text = render_card(run, settings, result)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{run / RESULT_FILE} is damaged ({error!r}); {REPEAT_RUN}") from None
    write_text(out, text)
    return out


def render_card(run: Path, settings: dict, result: dict) -> str:
    """Return the card as Markdown.

    Args:
        run: the run directory.
        settings: the contents of its ``config.yaml``.
        result: the contents of its ``result.json``.
    """
    model, dataset = class_name(settings["model"]), str(settings["dataset"])
    metadata = yaml.safe_dump(_describe_for_hubs(model, settings, result), sort_keys=False, allow_unicode=True)
    vocabulary, _ = read_vocabulary(run)
    # the padding is no item and no user
    user_ids, item_ids = (vocabulary[settings[field]][1:] for field in ("USER_ID_FIELD", "ITEM_ID_FIELD"))
    items = len(item_ids)
    decisive = {**hashed_settings(settings), "seed": result["seed"]}
    if settings.get("init_from"):
        decisive["init_from"] = Path(settings["init_from"]).name
    sections = {
        f"{model} on {dataset}": _describe_model(model, settings, result),
        "Data": _describe_data(dataset, settings, len(user_ids), items),
        "Evaluation": _describe_evaluation(run, settings, result),
        "How to use": USE.format(history=json.dumps(sorted(item_ids.tolist())[:2], ensure_ascii=False)),
        "Intended use": INTENDED_USE,
        "Limits": LIMITS.format(
            items=count(items, "item"),
            length=settings["MAX_ITEM_LIST_LENGTH"],
            times=", but for the times of these items" if settings.get("time_gaps") else "",
            leak=LEAK if _ends_by_user(settings) else "",
        ),
        "Settings": f"All that decide the result:\n\n```yaml\n{yaml.safe_dump(decisive, sort_keys=False)}```",
        "Origin": _describe_origin(result),
    }
    (title, first), *others = sections.items()
    parts = [f"---\n{metadata}---\n", f"# {escape_markdown(title)}\n\n{first}\n"]
    parts += [f"## {heading}\n\n{text}\n" for heading, text in others]
    return "\n".join(parts)


def _describe_for_hubs(model: str, settings: dict, result: dict) -> dict[str, Any]:
    """Return the metadata: tags, and the test metrics in the form ``model-index``."""
    dataset = str(settings["dataset"])
    metadata: dict[str, Any] = {
        "library_name": "recbole_echomamba",
        "tags": ["recommendation", "sequential-recommendation", "recbole", model],
        "datasets": [dataset],
    }
    metrics = [
        {"type": name, "name": f"{name}, {_name_protocol(end, settings)}", "value": value}
        for end in PROTOCOLS
        for name, value in result.get(f"test_result{end}", {}).items()
    ]
    if metrics:
        task = {"type": "sequential-recommendation", "name": "Sequential recommendation"}
        tested = {"task": task, "dataset": {"type": dataset, "name": dataset, "split": "test"}, "metrics": metrics}
        metadata["model-index"] = [{"name": f"{model} on {dataset}", "results": [tested]}]
    return metadata


def _name_protocol(end: str, settings: dict) -> str:
    """Say which items a target is ranked among."""
    mode = settings["eval_args"].get("mode")
    mode = mode.get("test") if isinstance(mode, dict) else mode
    if mode != "full":
        return f"ranking mode {mode}"
    return "items of the history left out" if end else "all items ranked"


def _describe_model(model: str, settings: dict, result: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    paper = f" ({PAPERS[model]})" if model in PAPERS else ""
    lines = [
        f"{model}{paper} recommends the next item to a person by the items of their history. It has "
        f"{result['parameters']:,} parameters, and was trained with {versions}."
    ]
    if settings.get("causal"):
        lines.append(
            "With `causal: true` it is **a variant in which no position reads a later item, not the model of the paper**."
        )
    if settings.get("init_from"):
        lines.append(
            f"It began with the weights of another run, `{Path(settings['init_from']).name}`; the epochs below are those after."
        )
    if settings.get("dropout_residual") is False:
        lines.append(
            "With `dropout_residual: false` dropout spares the residual of its gated linear unit, unlike the authors' code."
        )
    return "\n\n".join(lines)


def _describe_data(dataset: str, settings: dict, users: int, items: int) -> str:
    order = "compared exactly" if settings.get("exact_time_order") else "rounded to float32 as in RecBole"
    return "\n".join(
        [
            f"- dataset: {escape_markdown(dataset)}, {count(users, 'user')} and {count(items, 'item')} after filtering",
            f"- kept: users with a number of interactions in {settings.get('user_inter_num_interval') or '[0,inf)'}, items "
            f"in {settings.get('item_inter_num_interval') or '[0,inf)'}; values: {settings.get('val_interval') or 'all'}",
            f"- order: by time, {order}; equal times in the order of the file",
        ]
    )


def _describe_evaluation(run: Path, settings: dict, result: dict) -> str:
    """Return split, protocol, metrics of both protocols with their standard errors, and the warnings of the run."""
    notes = [f"- {escape_markdown(text)}" for text in result.get("warnings", [])]
    warnings = ["Warnings of the run:", "\n".join(notes)] if notes else []
    if not result["test_result"]:
        text = "The model was trained on all data (`train_on: all`) for "
        return "\n\n".join(
            [f"{text}{count(result['epochs'], 'epoch')}. **It was neither validated nor tested.**", *warnings]
        )
    errors = _read_standard_errors(run, list(result["test_result"]))
    header, columns = ["metric"], []
    for end in PROTOCOLS:
        if not result.get(f"test_result{end}"):
            continue
        for part, key in (("validation", f"best_valid_result{end}"), ("test", f"test_result{end}")):
            header.append(f"{part}, {_name_protocol(end, settings)}")
            of_part = errors.get(end, {}) if part == "test" else {}
            columns.append((result.get(key) or {}, of_part))
    rows = [
        [name, *(_format_metric(values.get(name), of_part.get(name)) for values, of_part in columns)]
        for name in result["test_result"]
    ]
    split = yaml.safe_dump(settings["eval_args"], default_flow_style=True, width=1000).strip()
    lines = [
        f"Split and ranking, in RecBole's terms: `{split}`. The epoch with the best "
        f"{settings['valid_metric']} in validation is {result['best_epoch'] + 1} of {result['epochs']}. Figures of different "
        "protocols cannot be compared; ± is the standard error over test targets.",
        Table(header, rows).to_markdown().rstrip(),
    ]
    return "\n\n".join([*lines, *warnings])


def _format_metric(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"


def _read_standard_errors(run: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """Return the standard error over targets of the test metrics that follow from one rank, by protocol and name."""
    file = run / RANKS_FILE
    if not file.is_file():
        return {}
    table = read_recorded_table(file, ["rank"], REPEAT_RUN)
    errors: dict[str, dict[str, float]] = {}
    for end in PROTOCOLS:
        if f"rank{end}" not in table.column_names or len(table) < 2:
            continue
        rank = table.column(f"rank{end}").to_numpy().astype(float)
        for name in names:
            metric, _, k = name.partition("@")
            if metric in GAIN:
                gain = np.where(rank <= int(k), GAIN[metric](rank), 0)
                errors.setdefault(end, {})[name] = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    return errors


def _describe_origin(result: dict) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in result.get("machine", {}).items())
    digests = {
        "settings (`config_hash`)": result["config_hash"],
        "data (`data_hash`, SHA-256 of the atomic files)": result["data_hash"],
        "weights (SHA-256 of `model.safetensors`)": result.get("weights_digest") or "not recorded",
    }
    lines = [f"- {name}: `{digest}`" for name, digest in digests.items()]
    lines += [f"- seed: {result['seed']}", f"- machine: {escape_markdown(machine)}"]
    lines.append(f"- training: {count(result['epochs'], 'epoch')} of {result['seconds_per_epoch']:.1f} s")
    return "\n".join(lines)


def _ends_by_user(settings: dict) -> bool:
    """Return whether each user's history is split by itself, and some of it is tested."""
    return settings.get("train_on") != "all" and settings["eval_args"].get("group_by") == "user"
