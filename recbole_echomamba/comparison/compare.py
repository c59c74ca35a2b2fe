"""Compare models on the same data, split, loss, budget and early stopping, over several seeds."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_echomamba.comparison.contenders import check_comparable, make_contenders
from recbole_echomamba.comparison.processes import run_in_subprocess
from recbole_echomamba.config.config import Config
from recbole_echomamba.config.model_names import get_model, is_registered
from recbole_echomamba.data.dataset_files import atomic_files
from recbole_echomamba.data.preparation import create_dataset
from recbole_echomamba.data.recorded_table import read_recorded_table
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import sha256
from recbole_echomamba.system.terminal import PROGRESS
from recbole_echomamba.training.run_directory import RANKS_FILE, REPEAT_RUN, find_finished, reuse_or_resume

ROWS_FILE = "rows.json"
"""The rows of the report in the folder of a comparison, see :func:`describe_rows`."""


@dataclass
class Comparison:
    """The results of a comparison by the label of their row, in the order of the rows.

    Attributes:
        dataset: the name of the dataset.
        results: the contents of ``result.json`` of every run, one for each seed.
        configs: the settings of each row, without the seed.
        baseline: the label of the row that the others are tested against; ``None`` where there is a single row.
        item_counts: the number of interactions of each item, by the ids of the dataset.
        user_counts: the number of interactions of each user, by the ids of the dataset.
        missing: label and seed of the requested runs that have no result.
    """

    dataset: str
    results: dict[str, list[dict]]
    configs: dict[str, Config]
    baseline: str | None
    item_counts: pd.Series
    user_counts: pd.Series
    missing: list[tuple[str, int]] = field(default_factory=list)

    @property
    def first_result(self) -> dict:
        """The first result of the first row, to read what all results have in common."""
        return next(iter(self.results.values()))[0]

    @property
    def first_config(self) -> Config:
        """The settings of the first row, to read what all rows have in common."""
        return next(iter(self.configs.values()))

    @property
    def popularity(self) -> pd.Series:
        """The number of interactions of each item without the test targets, by the ids of the dataset."""
        targets = self.ranks(next(iter(self.results))).drop_duplicates(["user", "item"])
        return self.item_counts.sub(targets["item"].value_counts(), fill_value=0).astype(int)

    @property
    def has_unseen(self) -> bool:
        """Whether every run has been scored with the items of each history taken out of the ranking, too."""
        return all(result.get("test_result_unseen") for results in self.results.values() for result in results)

    def ranks(self, label: str) -> pd.DataFrame:
        """Read ``user, item, rank, rank_unseen, history`` of every test target of a row, once for each seed."""
        files = [Path(result["run_directory"]) / RANKS_FILE for result in self.results[label]]
        tables = [read_recorded_table(file, ["user", "item", "rank"], REPEAT_RUN) for file in files]
        return pd.concat([table.to_pandas() for table in tables], ignore_index=True)

    def test_metric(self, label: str, name: str, part: str = "test_result") -> np.ndarray:
        """Return a test metric of a row for every seed, ``[seeds]``; ``part`` is an entry of ``result.json``."""
        return np.array([result[part][name] for result in self.results[label]])


@dataclass
class _Row:
    """A row that is ready to run: its settings, the hash of its data, and the arguments of :func:`.experiment.run`."""

    label: str
    config: Config
    data_hash: str
    arguments: dict


def compare(
    models: list[str | type[SequentialRecommender]],
    dataset: str,
    seeds: list[int],
    variants: dict[str, dict] | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict | None = None,
    out: Path | str = "comparisons",
    only_finished: bool = False,
) -> Comparison:
    """Run every model with every seed, each in its own process, and collect the results.

    A run that is finished in ``out/runs``, with the same settings, data and seed, is reused; an interrupted one is resumed.

    Args:
        models: names or classes of models, see :func:`.get_model`. The first one is under test, the others are its baselines.
        dataset: the name of the dataset.
        seeds: the seeds of each model.
        variants: further rows, variants of the first model: the name of each and the settings that it changes.
        config_file_list: YAML files with settings for all rows, see :class:`Config`.
        config_dict: settings for all rows.
        out: the folder of the comparison; the run directories are created in its folder ``runs``.
        only_finished: run nothing and collect the results that exist; rows may then have different seeds.

    Raises:
        MissingFileError: the data are missing.
        UserError: a model or setting is unknown, the rows cannot be compared (see :func:`check_comparable`), ``out`` holds the
            report of another comparison, or with ``only_finished`` there is no result of the first model.
    """
    contenders = make_contenders(models, variants or {})
    check_seeds(seeds)
    runs = Path(out).resolve() / "runs"
    settings = {}
    configs = {}
    has_custom_model = any(not is_registered(get_model(contender.model)) for contender in contenders)
    for contender in contenders:
        label = contender.label
        common = {**(config_dict or {}), "checkpoint_dir": str(runs)}
        if has_custom_model:
            # what a custom model reads means nothing to the others
            for key in Config(contender.model, dataset, config_file_list).find_unknown(common):
                del common[key]
        settings[label] = {**common, **contender.changes, "variant": contender.variant}
        configs[label] = Config(contender.model, dataset, config_file_list, settings[label])
    check_comparable(contenders, configs)
    check_same_comparison(out, configs)

    # Reading the data shows what is missing in them before anything is trained.
    data = create_dataset(configs[contenders[0].label])
    data_hashes = hash_data(configs)
    rows = []
    for contender in contenders:
        label = contender.label
        arguments = {
            "model": configs[label].model_reference or contender.model,
            "dataset": dataset,
            "config_file_list": config_file_list,
            "config_dict": settings[label],
        }
        rows.append(_Row(label, configs[label], data_hashes[label], arguments))

    results, missing = _get_results(rows, seeds, runs, only_finished)
    if contenders[0].label not in results:
        raise UserError(
            f"no run of {contenders[0].label} with these settings is finished in {runs}; compare without --only-finished"
        )
    return Comparison(
        dataset,
        results,
        configs={label: configs[label] for label in results},
        baseline=choose_baseline(results),
        item_counts=_count_by_id(data, data.iid_field, data.item_counter),
        user_counts=_count_by_id(data, data.uid_field, data.user_counter),
        missing=missing,
    )


def describe_rows(configs: dict[str, Config]) -> dict[str, str]:
    """Return the hash of the settings of each row by its label: what makes a comparison the same comparison."""
    return {label: config.hash for label, config in configs.items()}


def check_same_comparison(out: Path | str, configs: dict[str, Config]) -> None:
    """Check that a folder holds no report that a report on these rows would not contain.

    Args:
        out: the folder of the comparison; it need not exist.
        configs: the settings of each row by its label.

    Raises:
        UserError: it holds the report of other rows, or of the same rows with other settings.
    """
    file = Path(out) / ROWS_FILE
    if not file.is_file():
        return
    try:
        reported = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{file} is damaged; remove it to have the report in {out} replaced") from None
    rows = describe_rows(configs)
    changed = [label for label in reported if label in rows and rows[label] != reported[label]]
    lost = [label for label in reported if label not in rows]
    if changed:
        raise UserError(f"{out} holds a report on {', '.join(changed)} with other settings; choose another --out")
    if lost:
        raise UserError(
            f"{out} holds a report on {', '.join(reported)}; choose another --out, or compare {', '.join(lost)} too"
        )


def check_seeds(seeds: list[int]) -> None:
    """Check that there is a seed and that no seed is repeated.

    Raises:
        UserError: otherwise.
    """
    if not seeds:
        raise UserError("there is no seed to run; name at least one with --seeds")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"a seed is named twice: {', '.join(map(str, seeds))}; name each once")


def hash_data(configs: dict[str, Config]) -> dict[str, str]:
    """Compute the SHA-256 of the atomic files that each row reads, by its label."""
    hashes = {}
    by_files = {}
    for label, config in configs.items():
        # Not the same for all rows: some models read .item files too.
        files = tuple(atomic_files(config))
        if files not in by_files:
            by_files[files] = sha256(*files)
        hashes[label] = by_files[files]
    return hashes


def choose_baseline(results: dict[str, list[dict]]) -> str | None:
    """Choose the row that the others are tested against.

    It is the row with the best mean validation score among those of other models than the first row's. Validation decides,
    so that the choice does not depend on the test. Where all rows are of one model it is the first row.

    Args:
        results: the results of each row by its label, in order.

    Returns:
        The label, or ``None`` where there is a single row.
    """
    first, *rest = results
    others = [label for label in rest if results[label][0]["model"] != results[first][0]["model"]]
    if not others:
        return first if rest else None
    means = {label: np.mean([result["best_valid_score"] for result in results[label]]) for label in others}
    choose = max if results[first][0]["valid_score_bigger"] else min
    return choose(others, key=means.get)


def _get_results(
    rows: list[_Row], seeds: list[int], runs: Path, only_finished: bool
) -> tuple[dict[str, list[dict]], list[tuple[str, int]]]:
    """Return the results by label, without rows that have none, and label and seed of the missing ones."""
    jobs = [(row, seed) for seed in seeds for row in rows]
    if only_finished:
        finished = find_finished(runs)
        found = {(row.label, seed): finished.get((row.config.hash, row.data_hash, seed)) for row, seed in jobs}
    else:
        found = _run_all(jobs, runs)
    missing = [(row.label, seed) for row, seed in jobs if found[row.label, seed] is None]
    results = {row.label: [found[row.label, seed] for seed in seeds if found[row.label, seed]] for row in rows}
    return {label: of_row for label, of_row in results.items() if of_row}, missing


def _run_all(jobs: list[tuple[_Row, int]], runs: Path) -> dict[tuple[str, int], dict]:
    """Return the results by label and seed. Runs that another comparison is training come last, when it may have ended."""
    results = {}
    for wait in (False, True):
        for number, (row, seed) in enumerate(jobs, start=1):
            if (row.label, seed) in results:
                continue
            heading = f"\nrun {number} of {len(jobs)}: {row.label}, seed {seed}"
            result = find_finished(runs).get((row.config.hash, row.data_hash, seed))
            if result is not None:
                metric, score = row.config["valid_metric"], result["best_valid_score"]
                PROGRESS.info("%s: finished already, best validation %s %.4f", heading, metric, score)
            else:
                PROGRESS.info("%s", heading)
                result = _get_result(row, seed, runs, wait)
            if result is not None:
                results[row.label, seed] = result
    return results


def _get_result(row: _Row, seed: int, runs: Path, wait: bool) -> dict | None:
    """Return the result of a row with a seed, see :func:`.reuse_or_resume`; where it is not finished, run it in a process."""
    runs.mkdir(parents=True, exist_ok=True)
    start = functools.partial(run_in_subprocess, f"{row.label}, seed {seed}")
    arguments = {**row.arguments, "config_dict": {**row.arguments["config_dict"], "seed": seed}}
    return reuse_or_resume(runs, row.config, row.data_hash, seed, start, arguments, wait)


def _count_by_id(data, field: str, counter: dict[int, int]) -> pd.Series:
    """Return the counts of RecBole's internal ids of a field by the ids of the dataset."""
    numbers = np.fromiter(counter, dtype=np.int64)
    return pd.Series([counter[number] for number in numbers], index=data.id2token(field, numbers).astype(str))
