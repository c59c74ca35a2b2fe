"""Several models on the same data, split, loss, budget and early stopping, over several seeds, held against each other."""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_echomamba.experiment import run
from recbole_echomamba.host import checkpoint
from recbole_echomamba.host.config import Config, parse_value
from recbole_echomamba.host.dataset import atomic_files, create_dataset
from recbole_echomamba.host.files import sha256
from recbole_echomamba.host.interrupt import end_with_parent

EQUAL = (
    *("eval_args", "metrics", "topk", "valid_metric", "repeatable", "MAX_ITEM_LIST_LENGTH", "normalize_all"),
    *("user_inter_num_interval", "item_inter_num_interval", "rm_dup_inter", "val_interval", "threshold"),
    *("loss_type", "epochs", "train_batch_size", "learner", "stopping_step", "eval_step"),
)
"""Settings that must be the same for every model: what is read, how it is split and scored, the loss and the budget."""


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
    """

    dataset: str
    results: dict[str, list[dict]]
    configs: dict[str, Config]
    baseline: str | None
    item_counts: pd.Series
    user_counts: pd.Series

    @property
    def first(self) -> dict:
        """Any result: for what is the same in all of them."""
        return next(iter(self.results.values()))[0]

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


@dataclass
class Difference:
    """A row against the baseline on NDCG per user: mean difference, its 95% interval, Holm's p and the effect size."""

    label: str
    mean: float
    low: float
    high: float
    p: float
    effect: float


def parse_variant(text: str) -> tuple[str, dict]:
    """``name:key=value,key=[1,2]`` as a name and settings. Raises ValueError when it is written otherwise."""
    name, _, rest = text.partition(":")
    pairs = [part.partition("=") for part in re.split(r",(?=\w+=)", rest)]
    if not name or any(not key.isidentifier() or not equals for key, equals, _ in pairs):
        raise ValueError(f"cannot read variant {text!r}; variants are written name:key=value,key=value")
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
        raise ValueError("name at least one model and one seed")
    rows = [Contender(model) for model in models]
    rows += [Contender(models[0], name, settings) for name, settings in (variants or {}).items()]
    if len({row.label for row in rows}) < len(rows):
        raise ValueError("a model or variant is named twice")
    runs = Path(out).resolve() / "runs"
    common = {**(config_dict or {}), "checkpoint_dir": str(runs)}
    settings = {row.label: {**common, **row.settings, "variant": row.variant} for row in rows}
    configs = {row.label: Config(row.model, dataset, config_file_list, settings[row.label]) for row in rows}
    refuse_differences(rows, configs)
    data = create_dataset(configs[rows[0].label])  # before anything is trained: it may be missing
    runs.mkdir(parents=True, exist_ok=True)

    data_hashes = {label: sha256(*atomic_files(config)) for label, config in configs.items()}
    results = {row.label: [] for row in rows}
    with tqdm([(row, seed) for seed in seeds for row in rows], desc="runs", unit="run") as jobs:
        for row, seed in jobs:
            jobs.set_postfix_str(f"{row.label}, seed {seed}")
            key = (configs[row.label].hash, data_hashes[row.label], seed)
            result = _finished(runs).get(key)
            if result is None and only_finished:
                continue
            if result is None:
                begun = _unfinished(runs, *key)
                own = {**settings[row.label], "seed": seed}
                anew = {
                    "model": row.model,
                    "dataset": dataset,
                    "config_file_list": config_file_list,
                    "config_dict": own,
                }
                _run_alone(f"{row.label}, seed {seed}", **({"resume": begun} if begun else anew))
                result = _finished(runs)[key]
            results[row.label].append(result)

    if not results[rows[0].label]:
        raise ValueError(f"no run of {rows[0].label} with these settings is finished in {runs}")
    results = {label: finished for label, finished in results.items() if finished}
    configs = {label: configs[label] for label in results}
    rows = [row for row in rows if row.label in results]
    baseline = best_baseline({row.label: (row.model, results[row.label]) for row in rows})
    items, users = _counts(data, data.iid_field, data.item_counter), _counts(data, data.uid_field, data.user_counter)
    return Comparison(dataset, results, configs, baseline, items, users)


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


def ndcg_per_user(ranks: pd.DataFrame, k: int) -> pd.Series:
    """NDCG@k of every user, averaged over seeds; with one target it is ``1 / log2(rank + 1)`` up to rank ``k``, else 0."""
    gain = np.where(ranks["rank"] <= k, 1 / np.log2(ranks["rank"] + 1), 0.0)
    return pd.Series(gain, index=ranks["user"]).groupby(level=0).mean()


def differences(comparison: Comparison, k: int) -> list[Difference]:
    """Every row against the baseline: a paired t-test over users, two-sided, Holm-corrected over the rows.

    The seeds of a model are averaged per user first, so that the number of seeds does not pass for evidence. Users are in
    the hundreds or more, where the mean of the differences is normal enough for the t-test though they are mostly zero.
    """
    if comparison.baseline is None:
        return []
    theirs = ndcg_per_user(comparison.ranks(comparison.baseline), k)
    labels = [label for label in comparison.results if label != comparison.baseline]
    raw = []
    for label in labels:
        ours = ndcg_per_user(comparison.ranks(label), k)
        if not ours.index.equals(theirs.index):
            raise ValueError(f"{label} and {comparison.baseline} were tested on different users")
        raw.append(paired_difference(label, (ours - theirs).to_numpy()))
    for difference, p in zip(raw, holm([difference.p for difference in raw]), strict=True):
        difference.p = p
    return raw


def paired_difference(label: str, values: np.ndarray) -> Difference:
    """The t-test of ``values [users]`` against a mean of zero, and Cohen's d for paired samples, mean over deviation."""
    from scipy import stats

    deviation = values.std(ddof=1)
    if deviation == 0:
        return Difference(label, values.mean(), values.mean(), values.mean(), 1.0 if values.mean() == 0 else 0.0, 0.0)
    tested = stats.ttest_1samp(values, 0.0)
    low, high = tested.confidence_interval(0.95)
    return Difference(label, values.mean(), low, high, float(tested.pvalue), values.mean() / deviation)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics, 1979): family-wise, in the order given."""
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected.tolist()


def has_own_loss(config: Config) -> bool:
    """Whether a model, such as FPMC, knows only the loss it was made for."""
    return getattr(config.model_class, "input_type", None) is not None or config["loss_type"] is None


def refuse_differences(rows: list[Contender], configs: dict[str, Config]) -> None:
    """Raise ValueError when rows differ in a setting of :data:`EQUAL` that is no part of a variant, or do not rank all items."""
    for row in rows:
        mode = configs[row.label]["eval_args"]["mode"]
        if set(mode.values() if isinstance(mode, dict) else [mode]) != {"full"}:
            raise ValueError(f"the comparison ranks all items, but eval_args has mode {mode!r}; set it to full")
    for key in EQUAL:
        values = {row.label: configs[row.label][key] for row in rows if key not in row.settings}
        if key == "loss_type":
            values = {label: value for label, value in values.items() if not has_own_loss(configs[label])}
        if len({json.dumps(value, default=str) for value in values.values()}) > 1:
            listed = ", ".join(f"{value!r} for {label}" for label, value in values.items())
            raise ValueError(f"{key} is {listed}: no fair comparison; pass --{key}=VALUE for all")


def _counts(data, field: str, counter: dict[int, int]) -> pd.Series:
    """How often each id of a field occurs, by the data set's own ids."""
    ids = np.fromiter(counter, dtype=np.int64)
    return pd.Series([counter[number] for number in ids], index=data.id2token(field, ids).astype(str))


def _finished(runs: Path) -> dict[tuple, dict]:
    """The results under a folder by settings, data and seed; of equal ones the latest."""
    found = {}
    for file in sorted(runs.glob(f"*/{checkpoint.RESULT}")):
        result = json.loads(file.read_text(encoding="utf-8"))
        key = (result["config_hash"], result["data_hash"], result["seed"])
        found[key] = {**result, "run_directory": str(file.parent)}
    return found


def _unfinished(runs: Path, config_hash: str, data_hash: str, seed: int) -> Path | None:
    """A run directory that can be gone on with."""
    for directory in sorted(runs.glob(f"*-s{seed}-{config_hash}*"), reverse=True):
        with contextlib.suppress(ValueError, FileNotFoundError):  # a state that is damaged or was never written
            state = checkpoint.load_state(directory / checkpoint.STATE, "cpu")
            if state["data_hash"] == data_hash and not (directory / checkpoint.RESULT).exists():
                return directory
    return None


def _begin_alone() -> None:
    end_with_parent()
    warnings.filterwarnings("ignore", "", FutureWarning)  # RecBole's old spellings


def _run_alone(name: str, **arguments) -> None:
    """One run in a fresh process: its peak memory and its log are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin_alone) as process:
        try:
            process.submit(run, **arguments).result()
        except BrokenProcessPool:
            raise ChildProcessError(f"{name}: its process was ended from outside; was memory short?") from None
