"""Search for the settings of a model by validation alone, with Hyperopt or Ray Tune; a killed search goes on."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from recbole.trainer.hyper_tuning import HyperTuning
from recbole.utils import init_logger, init_seed

from recbole_echomamba import report
from recbole_echomamba.experiment import run
from recbole_echomamba.host.config import Config, properties_directory
from recbole_echomamba.host.dataset import create_dataset, data_preparation
from recbole_echomamba.host.files import write_text, write_whole
from recbole_echomamba.host.trainer import Trainer
from recbole_echomamba.search_space import Range, read_space
from recbole_echomamba.tuning_report import draw_trials, trials_table

QUIET = {"show_progress": False, "state": "WARNING"}
"""Of trials, unless asked for: there are many, and the search has a progress bar of its own."""


def tune(
    model: str | None,
    dataset: str | None,
    config_file_list: list[str] | None = None,
    config_dict: dict | None = None,
    *,
    params_file: Path | str | None = None,
    out: Path | str | None = None,
    tool: str = "Hyperopt",
    algo: str = "exhaustive",
    max_evals: int = 10,
    early_stop: int = 10,
    resume: bool = False,
    output_file: Path | str | None = None,
    display_file: Path | str | None = None,
    ray_address: str | None = None,
    cpus_per_trial: float = 1,
    gpus_per_trial: float = 0,
) -> dict:
    """Search, then train the best settings once more and test them: the only time the test part is looked at.

    Writes ``best.yaml`` (for ``--config_files``), ``trials.csv``, ``trials.md`` and ``trials.png`` into ``out``, by default
    ``tuning/MODEL-DATASET``, and keeps the trials there for ``resume``.

    Args:
        model, dataset: names, unless a config file has them. config_file_list, config_dict: of all trials, see :class:`Config`.
        params_file: the ``.hyper`` file; ours for the model by default. tool: Hyperopt or Ray.
        algo: exhaustive, random or bayes, of Hyperopt. max_evals: trials; an exhaustive search takes every combination.
        early_stop: Hyperopt stops after as many trials without a better one.
        output_file, display_file: other places for ``trials.md`` and ``trials.png``.
        ray_address: of a running cluster. cpus_per_trial, gpus_per_trial: what Ray keeps free for each.

    Returns:
        The result of the last run, see :func:`.experiment.run`, and ``best_file``, the path of ``best.yaml``.

    Raises:
        ValueError: a setting is unknown, ``out`` holds another search, or every trial failed.
        FileNotFoundError: the data or ``params_file`` is missing.
    """
    named = Config(model, dataset, config_file_list, config_dict)
    model, dataset = named.model, named.dataset
    space = read_space(params_file or properties_directory() / "hyper" / f"{model}.hyper")
    out = Path(out or f"tuning/{model}-{dataset}").resolve()
    common = {**(config_dict or {}), "checkpoint_dir": str(out / "runs")}
    first = {name: each.first for name, each in space.items()}  # a misspelt name ends the search before it starts
    config = Config(model, dataset, config_file_list, {**common, **plain(first)})
    _refuse_impossible(tool, algo, space)
    create_dataset(config)
    out.mkdir(parents=True, exist_ok=True)
    _same_search(out / "search.json", _described(config, space, tool, algo), resume)

    objective = Objective(
        model, dataset, [str(Path(file).resolve()) for file in config_file_list or []], _absolute(common, config)
    )
    if tool == "Ray":
        from recbole_echomamba.tuning_ray import search

        trials = search(objective, space, out, config, max_evals, resume, ray_address, cpus_per_trial, gpus_per_trial)
    else:
        search = Search(objective, space, out / "trials.jsonl", algo, max_evals, early_stop, config["seed"])
        search.run()
        trials = search.trials
    failures = [trial["error"] for trial in trials if trial["best_valid_score"] is None]
    trials = [trial for trial in trials if trial["best_valid_score"] is not None]
    if not trials:
        raise ValueError(f"every trial failed: {failures[-1] if failures else 'see the log above'}")
    sign = 1 if config["valid_metric_bigger"] else -1
    best = max(trials, key=lambda trial: sign * trial["best_valid_score"])

    write_text(out / "best.yaml", yaml.safe_dump(best["params"], sort_keys=False))
    table, head = trials_table(trials, best), f"# {model} on {dataset}: {len(trials)} trials, {tool}, by validation"
    write_text(out / "trials.csv", table.csv())
    write_text(output_file or out / "trials.md", f"{head} {config['valid_metric']}\n\n{table.markdown()}")
    picture = report.png(draw_trials(trials, config["valid_metric"], config["valid_metric_bigger"]))
    write_whole(display_file or out / "trials.png", lambda file: Path(file).write_bytes(picture))
    result = run(model, dataset, config_file_list, {**common, **best["params"]})
    return {**result, "best_file": str(out / "best.yaml")}


class Objective:
    """Trains one trial and reports validation metrics; the test part is not touched and no weights are kept.

    Args:
        model, dataset, files: as for :class:`Config`. settings: of all trials; a trial's own come on top.
    """

    def __init__(self, model: str, dataset: str, files: list[str], settings: dict):
        self.model, self.dataset, self.files, self.settings = model, dataset, files, settings

    def __call__(self, params: dict, after_epoch: Callable[[dict], None] | None = None) -> dict:
        """``best_valid_score, best_valid_result, epochs, seconds`` of a trial; ``after_epoch`` gets them as they stand."""
        started = time.perf_counter()
        config = Config(self.model, self.dataset, self.files, {**QUIET, **self.settings, **params})
        init_seed(config["seed"], config["reproducibility"])
        init_logger(config)
        data = create_dataset(config)
        train, valid, _ = data_preparation(config, data)
        init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
        trainer = Trainer(config, config.model_class(config, train.dataset).to(config["device"]))

        def standing() -> dict:
            scored = [entry for entry in trainer.history if "valid_score" in entry]
            best = next((entry for entry in scored if entry["epoch"] == trainer.best_epoch), None)
            if best is None:
                raise ValueError("a trial was never validated; set eval_step to 1 and stopping_step above 0")
            measured = {"best_valid_score": best["valid_score"], "best_valid_result": best["valid_result"]}
            return {**measured, "epochs": len(trainer.history), "seconds": time.perf_counter() - started}

        def callback(epoch, score):
            if after_epoch:
                after_epoch(standing())

        trainer.fit(
            train, valid, verbose=False, saved=False, show_progress=config["show_progress"], callback_fn=callback
        )
        return {**standing(), "model": self.model, "valid_score_bigger": config["valid_metric_bigger"]}


class Search(HyperTuning):
    """RecBole's search with Hyperopt, kept in a file and resumed by replay.

    Hyperopt's proposals follow from its seed and the scores so far. A search that starts again with the same seed therefore
    makes the same proposals, and those whose score is in the file are not trained again; nor are settings drawn twice.

    Attributes:
        trials: one entry per different settings, in the order of the file.
    """

    def __init__(
        self, objective, space: dict[str, Range], file: Path, algo: str, max_evals: int, early_stop: int, seed: int
    ):
        self.file, self.seed, self.trials = file, seed, read_trials(file)
        self._known = {_key(trial["params"]): trial for trial in self.trials}
        self._objective = objective
        nodes = {name: each.hyperopt(name) for name, each in space.items()}
        super().__init__(self._recorded, space=nodes, algo=algo, max_evals=max_evals, early_stop=early_stop)

    def _recorded(self, params: dict, _files) -> dict:
        params = plain(params)
        trial = self._known.get(_key(params))
        if trial is None:
            trial = {"params": params, **_attempt(self._objective, params)}
            append_line(self.file, trial)
            self.trials.append(trial)
            self._known[_key(params)] = trial
        return trial

    def trial(self, params):
        """RecBole's, but settings that cannot be trained are a failed trial instead of the end of the search."""
        result = self._recorded(params, None)
        if result["best_valid_score"] is None:
            return {"loss": sys.float_info.max, "status": "fail"}  # infinity would end the early stopping's arithmetic
        with contextlib.redirect_stdout(None):  # RecBole prints every trial into the progress bar
            return super().trial(params)

    def _print_result(self, result_dict: dict):
        """RecBole prints test metrics here, which a trial does not have."""

    def run(self):
        """Search. Raises KeyboardInterrupt on Ctrl-C; what is finished stays in the file."""
        from hyperopt import fmin

        fmin(
            self.trial,
            self.space,
            algo=self.algo,
            max_evals=self.max_evals,
            early_stop_fn=self.early_stop_fn,
            rstate=np.random.RandomState(self.seed),
        )


def append_line(file: Path, entry: dict) -> None:
    """Add one line of JSON and wait until it is on the disk. A torn line at the end, of a writer killed in it, goes first."""
    with open(file, "ab+") as lines:
        lines.seek(0)
        whole = lines.read().rpartition(b"\n")
        lines.truncate(len(whole[0]) + len(whole[1]))
        lines.write(json.dumps(entry).encode() + b"\n")
        lines.flush()
        os.fsync(lines.fileno())


def read_trials(file: Path) -> list[dict]:
    """The whole lines of a file of trials; none when there is no file yet."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_bytes().rpartition(b"\n")[0].splitlines()]


def plain(params: dict) -> dict:
    """Settings in Python's own types; a whole number stays one where Hyperopt or Ray made it a float (quniform)."""
    found = {}
    for name, value in params.items():
        value = value.item() if isinstance(value, np.generic) else value
        found[name] = list(value) if isinstance(value, tuple) else value
        if isinstance(value, float) and value.is_integer() and abs(value) >= 1:
            found[name] = int(value)
    return found


def _attempt(objective, params: dict) -> dict:
    try:
        return objective(params)
    except (ValueError, ArithmeticError, AssertionError) as error:  # NaN loss, or sizes that do not fit each other
        return {"best_valid_score": None, "error": str(error)}


def _refuse_impossible(tool: str, algo: str, space: dict[str, Range]) -> None:
    if importlib.util.find_spec(tool.lower()) is None:
        raise ValueError(f"{tool} is not installed; pip install 'recbole_echomamba[tune]' brings it")
    ranges = [name for name, each in space.items() if each.kind != "choice"]
    if tool == "Hyperopt" and algo == "exhaustive" and ranges:
        raise ValueError(f"an exhaustive search needs choices, {', '.join(ranges)} has a range; use --algo=bayes")


def _same_search(file: Path, described: dict, resume: bool) -> None:
    """Refuse to mix two searches in one folder, and to overwrite one."""
    if not file.is_file():
        write_text(file, json.dumps(described, indent=2) + "\n")
        return
    kept = json.loads(file.read_text(encoding="utf-8"))
    different = [key for key, value in described.items() if kept.get(key) != value]
    if different:
        raise ValueError(f"{file.parent} holds another search (other {', '.join(different)}); choose another --out")
    if not resume:
        raise ValueError(f"{file.parent} holds this search already; go on with --resume or choose another --out")


def _described(config: Config, space: dict[str, Range], tool: str, algo: str) -> dict:
    ranges = {name: [each.kind, each.values] for name, each in space.items()}
    fixed = {key: value for key, value in config.settings.items() if key not in {*space, "show_progress", "state"}}
    facts = {"model": config.model, "dataset": config.dataset, "tool": tool, "space": ranges, "settings": fixed}
    return json.loads(json.dumps({**facts, "algo": algo if tool == "Hyperopt" else "ASHA"}, default=str))


def _absolute(settings: dict, config: Config) -> dict:
    """A trial may run in another folder."""
    return {**settings, "data_path": str(Path(config.settings["data_path"]).resolve())}


def _key(params: dict) -> str:
    return json.dumps(params, sort_keys=True)
