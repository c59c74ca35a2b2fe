"""Try every setting of RecBole's configuration reference, and print what each does here as a Markdown table.

    python -m benchmarks.recbole_settings > docs/recbole-settings.md

A setting is tried by training, testing and loading a small model with it and without it. It *works* if what it should change
has changed, is *refused* if the run ends before training with a line that says why, and has *no effect* if a warning says so.
Anything else is printed as SILENT: the run took the setting and nothing shows that it did anything.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.recbole_settings_data import write_dataset
from benchmarks.working_directory import change_to
from recbole_echomamba import load_run, run
from recbole_echomamba.config.config import RECBOLE_PROPERTIES
from recbole_echomamba.system.errors import UserError

COMMON = {
    "data_path": "data",
    "epochs": 1,
    "train_batch_size": 64,
    "MAX_ITEM_LIST_LENGTH": 6,
    "topk": [3],
    "valid_metric": "NDCG@3",
    "user_inter_num_interval": None,
    "item_inter_num_interval": None,
    "show_progress": False,
    "n_layers": 1,
    "n_heads": 1,
    "hidden_size": 8,
    "inner_size": 8,
    "embedding_size": 8,
}
"""Settings of all runs, so that a run takes a fraction of a second."""

HEADER = """\
# RecBole's settings

Every setting of RecBole's configuration reference, tried on a CPU and on SASRec unless a model is named. Printed by
`python -m benchmarks.recbole_settings`. A setting *works* if what it should change has changed, is *refused* before training with
the line shown, or has *no effect*, which a warning says. The settings of single models are theirs and not listed.
"""


class Terminal(io.StringIO):
    """Stand in for a terminal, on which progress is shown."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        error: the message of the :class:`UserError` that ended it.
        warnings: the warnings that were logged.
        shown: what was shown on the terminal.
        log: the log file.
        result: the contents of ``result.json``.
        config, dataset, train: of the run, loaded again.
    """

    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    shown: str = ""
    log: str = ""
    result: dict = field(default_factory=dict)
    config: Any = None
    dataset: Any = None
    train: Any = None

    @property
    def numbers(self) -> list:
        """Every number that the run computed."""
        losses = [[entry["train_loss"], entry.get("valid_result")] for entry in self.result["history"]]
        return [losses, self.result["test_result"]]


def _numbers_change(tried: Outcome, plain: Outcome) -> bool:
    return tried.numbers != plain.numbers


@dataclass(frozen=True)
class Probe:
    """A value to try.

    Attributes:
        value: of the setting.
        more: other settings, with and without it.
        seen: whether what the setting should change has changed, from the outcomes with and without it.
        by: what that is, in words.
        also: other settings, with it only.
        model: the model to try it on.
        dataset: the name of the dataset.
    """

    value: object
    more: dict = field(default_factory=dict)
    seen: Callable[[Outcome, Outcome], bool] = _numbers_change
    by: str = "other losses or metrics"
    also: dict = field(default_factory=dict)
    model: str = "SASRec"
    dataset: str = "shop"


def list_settings() -> list[str]:
    """Return the settings of RecBole's reference, in its order."""
    files = ("overall", "dataset/sample")
    keys = [key for file in files for key in yaml.safe_load((RECBOLE_PROPERTIES / f"{file}.yaml").read_text())]
    return [*dict.fromkeys([*keys, "encoding", "config_file"])]


def observe(model: str, dataset: str, settings: dict) -> Outcome:
    """Train, test and load a model with some settings in a new folder."""
    outcome, terminal = Outcome(), Terminal()
    with tempfile.TemporaryDirectory() as folder, change_to(folder), contextlib.redirect_stderr(terminal):
        write_dataset(Path("data"))
        try:
            with _collecting_warnings(outcome.warnings), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcome.result = run(model, dataset, config_dict={**COMMON, **settings})
                outcome.config, _, outcome.dataset, outcome.train, *_ = load_run(outcome.result["run_directory"])
        except UserError as error:
            outcome.error = str(error).replace(folder, "").replace(os.sep + os.sep, os.sep)
        outcome.log = "".join(file.read_text() for file in Path("log").rglob("*.log"))
    outcome.shown = terminal.getvalue()
    return outcome


@functools.cache
def _observe_plain(model: str, dataset: str, more: str) -> Outcome:
    return observe(model, dataset, json.loads(more))


@contextlib.contextmanager
def _collecting_warnings(messages: list[str]) -> Iterator[None]:
    """Within the block, collect the warnings that are logged, without a handler; a run sets up its own if there is none."""
    make_record, root = logging.getLogRecordFactory(), logging.getLogger()
    before = root.handlers.copy(), root.level

    def collect(*arguments, **keywords):
        record = make_record(*arguments, **keywords)
        # logging.makeLogRecord fills in the level later
        if (record.levelno or 0) >= logging.WARNING:
            messages.append(record.getMessage())
        return record

    logging.setLogRecordFactory(collect)
    root.handlers.clear()
    try:
        yield
    finally:
        logging.setLogRecordFactory(make_record)
        root.handlers[:], root.level = before


def judge(setting: str, probe: Probe) -> tuple[str, str]:
    """Try a value of a setting; return the verdict and its reason."""
    tried = observe(probe.model, probe.dataset, {**probe.more, **probe.also, setting: probe.value})
    if tried.error:
        return "refused", tried.error
    said = [text for text in tried.warnings if f"setting {setting!r} has no effect" in text]
    if said:
        return "no effect", said[0]
    plain = _observe_plain(probe.model, probe.dataset, json.dumps(probe.more))
    if plain.error:
        return "works", "without it the run is refused"
    return ("works", probe.by) if probe.seen(tried, plain) else ("SILENT", f"expected {probe.by}")


def main() -> None:
    """Print the table."""
    from benchmarks.recbole_settings_probes import PROBES

    print(HEADER)
    print("| setting | tried | outcome | seen or said |\n|---|---|---|---|")
    for setting in list_settings():
        for probe in PROBES[setting]:
            verdict, reason = judge(setting, probe)
            tried = json.dumps(probe.value) + (f" ({probe.model})" if probe.model != "SASRec" else "")
            cells = [f"`{setting}`", tried, verdict, reason]
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
