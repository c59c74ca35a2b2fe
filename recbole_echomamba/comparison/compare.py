"""Several models on the same data, split, loss, budget and early stopping, over several seeds, held against each other."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_echomamba.config.config import NAMED_VALUES, Config, parse_value
from recbole_echomamba.data.preparation import atomic_files, create_dataset
from recbole_echomamba.experiment import run
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import sha256
from recbole_echomamba.system.signals import children_ignore_sigint, end_with_parent
from recbole_echomamba.training.run_directory import finished, unfinished

EQUAL = (
    *("eval_args", "metrics", "topk", "valid_metric", "repeatable", "MAX_ITEM_LIST_LENGTH", "normalize_all"),
    *("user_inter_num_interval", "item_inter_num_interval", "rm_dup_inter", "val_interval", "threshold"),
    *("loss_type", "epochs", "train_batch_size", "learner", "stopping_step", "eval_step"),
)
"""Settings that must be the same for every model: what is read, how it is split and scored, the loss and the budget."""

TESTED = {
    *("data_path", "load_col", "user_inter_num_interval", "item_inter_num_interval", "val_interval", "rm_dup_inter"),
    *(
        "filter_inter_by_user_or_item",
        "exact_time_order",
        "eval_args",
        "metrics",
        "topk",
        "valid_metric",
        "train_on",
        "seed",
    ),
}
"""Settings that a variant cannot change either: they decide on which targets it is tested, and how."""


@dataclass
class Contender:
    """One row of a comparison: a model, and for a variant the settings that make it one."""

    model: str
    variant: str | None = None
    settings: dict = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How tables and plots call it."""
        return self.model if self.variant is None else f"{self.model} ({self.variant})"


@dataclass
class Comparison:
    """The results of all runs, by label in the order asked for, and what they have in common.

    Attributes:
        results: the contents of every ``result.json``, a list per label with one entry per seed.
        configs: the settings per label. baseline: the label all others are tested against, ``None`` for a single row.
        item_counts, user_counts: interactions of every item and user, by their own ids.
        missing: label and seed of the runs that were asked for and have no result.
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
        """How often an item occurs outside the test targets, by its own id."""
        tested = self.ranks(next(iter(self.results))).drop_duplicates(["user", "item"])["item"].value_counts()
        return self.item_counts.sub(tested, fill_value=0).astype(int)

    def ranks(self, label: str) -> pd.DataFrame:
        """``user, item, rank, history`` of every test target, once per seed."""
        files = [Path(result["run_directory"]) / "test_ranks.parquet" for result in self.results[label]]
        return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)

    def test_metric(self, label: str, name: str) -> np.ndarray:
        """A test metric of every seed, ``[seeds]``."""
        return np.array([result["test_result"][name] for result in self.results[label]])


def parse_variant(text: str) -> tuple[str, dict]:
    """``name:key=value,key=[1,2]`` as a name and settings. Raises ValueError when it is written otherwise."""
    name, _, rest = text.partition(":")
    pairs = [part.partition("=") for part in re.split(r",(?=\w+=)", rest)]
    if (
        not name.isidentifier()
        or name.lower() in NAMED_VALUES
        or any(not k.isidentifier() or not equals for k, equals, _ in pairs)
    ):
        raise UserError(f"cannot read variant {text!r}; variants are written name:key=value,key=value, name of letters")
    return name, {key: parse_value(value) for key, _, value in pairs}


def compare(
    models: list[str],
    dataset: str,
    seeds: list[int],
    variants: dict[str, dict] | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict | None = None,
    out: Path | str = "results",
    only_finished: bool = False,
) -> Comparison:
    """Run every model with every seed, each in a process of its own, and gather the results.

    A run whose result lies in ``out/runs`` already, with the same settings, data and seed, is not run again; one that was
    interrupted goes on after its last whole epoch.

    Args:
        models: names; the first one is under test, the others are its baselines.
        variants: names and settings of further rows, each a change to the first model.
        config_file_list, config_dict: settings for all of them, see :class:`Config`.
        only_finished: run nothing; gather the results that are there, of some models from fewer seeds than of others.

    Raises:
        ValueError: a model or setting is unknown, models would differ in a setting of :data:`EQUAL`, or with ``only_finished``
            there is no result of the first model.
    """
    if not models or not seeds:
        raise UserError("name at least one model and one seed")
    rows = [Contender(model) for model in models]
    rows += [Contender(models[0], name, settings) for name, settings in (variants or {}).items()]
    if len({row.label for row in rows}) < len(rows):
        raise UserError("a model or variant is named twice")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"a seed is named twice: {', '.join(map(str, seeds))}")
    runs = Path(out).resolve() / "runs"
    common = {**(config_dict or {}), "checkpoint_dir": str(runs)}
    settings = {row.label: {**common, **row.settings, "variant": row.variant} for row in rows}
    configs = {row.label: Config(row.model, dataset, config_file_list, settings[row.label]) for row in rows}
    refuse_differences(rows, configs)
    data = create_dataset(configs[rows[0].label])  # before anything is trained: it may be missing
    files = {
        label: tuple(atomic_files(config)) for label, config in configs.items()
    }  # some models read .item files too
    hash_of = {some: sha256(*some) for some in set(files.values())}
    results, missing = {row.label: [] for row in rows}, []
    with tqdm([(row, seed) for seed in seeds for row in rows], desc="runs", unit="run", disable=only_finished) as jobs:
        for row, seed in jobs:
            jobs.set_postfix_str(f"{row.label}, seed {seed}")
            data_hash = hash_of[files[row.label]]
            key = (configs[row.label].hash, data_hash, seed)
            result = finished(runs).get(key)
            if result is None and only_finished:
                missing.append((row.label, seed))
                continue
            if result is None:
                runs.mkdir(parents=True, exist_ok=True)
                begun = unfinished(runs, configs[row.label], data_hash, seed)
                own = {**settings[row.label], "seed": seed}
                anew = {
                    "model": row.model,
                    "dataset": dataset,
                    "config_file_list": config_file_list,
                    "config_dict": own,
                }
                _run_alone(f"{row.label}, seed {seed}", **({"resume": begun} if begun else anew))
                result = finished(runs)[key]
            results[row.label].append(result)

    if not results[rows[0].label]:
        raise UserError(f"no run of {rows[0].label} with these settings is finished in {runs}")
    results = {label: of_label for label, of_label in results.items() if of_label}
    configs = {label: configs[label] for label in results}
    rows = [row for row in rows if row.label in results]
    baseline = best_baseline({row.label: (row.model, results[row.label]) for row in rows})
    items, users = _counts(data, data.iid_field, data.item_counter), _counts(data, data.uid_field, data.user_counter)
    return Comparison(dataset, results, configs, baseline, items, users, missing)


def best_baseline(rows: dict[str, tuple[str, list[dict]]]) -> str | None:
    """The label with the best mean validation score among the models other than the first row's.

    Chosen on validation, so that the test has no say in it. Where all rows are of one model it is the first row; a single
    row has none.
    """
    labels = list(rows)
    others = [label for label in labels if rows[label][0] != rows[labels[0]][0]]
    if not others:
        return labels[0] if len(labels) > 1 else None
    sign = 1 if rows[labels[0]][1][0]["valid_score_bigger"] else -1
    return max(others, key=lambda label: sign * np.mean([result["best_valid_score"] for result in rows[label][1]]))


def has_fixed_loss(config: Config) -> bool:
    """Whether a model, such as FPMC, knows only the loss it was made for."""
    return getattr(config.model_class, "input_type", None) is not None or config["loss_type"] is None


def refuse_differences(rows: list[Contender], configs: dict[str, Config]) -> None:
    """Raise ValueError for what cannot be compared, before anything is trained.

    That is rows that differ in a setting of :data:`EQUAL` which is no part of a variant, variants that change one of
    :data:`TESTED`, and an evaluation without one target per user, ranked among all items, and its NDCG.
    """
    for row in rows:
        if changed := sorted(TESTED & set(row.settings)):
            raise UserError(
                f"variant {row.variant} changes {', '.join(changed)}: it would not be tested on the same targets"
            )
        config = configs[row.label]
        mode, split = config["eval_args"]["mode"], config["eval_args"]["split"]
        if set(mode.values() if isinstance(mode, dict) else [mode]) != {"full"}:
            raise UserError(f"the comparison ranks all items, but eval_args has mode {mode!r}; set it to full")
        if split != {"LS": "valid_and_test"}:
            raise UserError(f"the comparison leaves each user's last two items out, but eval_args splits by {split}")
        if config["train_on"] == "all":
            raise UserError("with train_on=all nothing is tested: there is nothing to compare")
        if "ndcg" not in map(str.lower, config["metrics"]):
            raise UserError(f"the comparison tests NDCG, but metrics are {config['metrics']}; add NDCG")
    for key in EQUAL:
        values = {row.label: configs[row.label][key] for row in rows if key not in row.settings}
        if key == "loss_type":
            values = {label: value for label, value in values.items() if not has_fixed_loss(configs[label])}
        if len({json.dumps(value, default=str) for value in values.values()}) > 1:
            listed = ", ".join(f"{value!r} for {label}" for label, value in values.items())
            raise UserError(f"{key} is {listed}: no fair comparison; pass --{key}=VALUE for all")


def _counts(data, field: str, counter: dict[int, int]) -> pd.Series:
    """How often each id of a field occurs, by the data set's own ids."""
    ids = np.fromiter(counter, dtype=np.int64)
    return pd.Series([counter[number] for number in ids], index=data.id2token(field, ids).astype(str))


def _alone(sender, arguments: dict) -> None:
    """In a process of its own: run, and send what went wrong, or ``None``."""
    end_with_parent()
    warnings.filterwarnings("ignore", "", FutureWarning)  # RecBole's old spellings
    try:
        run(**arguments)
    except (UserError, KeyboardInterrupt) as error:
        sender.send(error)
    except Exception as error:
        sender.send(RuntimeError(f"{type(error).__name__}: {error}"))
        raise  # its traceback would be lost
    else:
        sender.send(None)


def _run_alone(name: str, **arguments) -> None:
    """One run in a fresh process: its peak memory and its log are its own. Ctrl-C ends it between batches, a second one now."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_alone, args=(sender, arguments))
    with children_ignore_sigint():
        process.start()
    sender.close()
    try:
        outcome = receiver.recv()
        process.join()
    except EOFError:
        raise ChildProcessError(f"{name}: its process was ended from outside; was memory short?") from None
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.join()
        except KeyboardInterrupt:
            process.kill()
        raise
    if outcome is not None:
        raise outcome
