"""Search for the settings of a model by validation alone, with Hyperopt or Ray Tune; a killed search goes on."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from recbole.utils import init_logger, init_seed

from recbole_echomamba import report
from recbole_echomamba.config.config import NOT_IN_HASH, PROCESS_KEYS, Config, properties_directory
from recbole_echomamba.data.preparation import atomic_files, create_dataset, data_preparation
from recbole_echomamba.experiment import run
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable, sha256, write_atomically, write_text
from recbole_echomamba.training.run_directory import finished, unfinished
from recbole_echomamba.training.trainer import Trainer
from recbole_echomamba.tuning.report import plot_trials, tabulate_trials
from recbole_echomamba.tuning.search_space import Range, plain, read_space

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
    files = {"--output_file": output_file, "--display_file": display_file}
    _refuse_impossible(config, tool, algo, space, max_evals, files)
    create_dataset(config)
    data_hash = sha256(*atomic_files(config))
    out.mkdir(parents=True, exist_ok=True)
    _same_search(out / "search.json", _described(config, space, tool, algo, data_hash, max_evals), resume)

    objective = Objective(
        model, dataset, [str(Path(file).resolve()) for file in config_file_list or []], _absolute(common, config)
    )
    if tool == "Ray":
        from recbole_echomamba.tuning.ray_search import search

        trials = search(objective, space, out, config, max_evals, resume, ray_address, cpus_per_trial, gpus_per_trial)
    else:
        from recbole_echomamba.tuning.hyperopt_search import Search

        search = Search(objective, space, out / "trials.jsonl", algo, max_evals, early_stop, config["seed"])
        search.run()
        trials = search.trials
    failures = [trial["error"] for trial in trials if trial["best_valid_score"] is None]
    trials = [trial for trial in trials if trial["best_valid_score"] is not None]
    if not trials:
        raise UserError(f"every trial failed: {failures[-1] if failures else 'see the log above'}")
    sign = 1 if config["valid_metric_bigger"] else -1
    best = max(trials, key=lambda trial: sign * trial["best_valid_score"])

    given = {
        key: value for key, value in config.external_config_dict.items() if key not in {*PROCESS_KEYS, "checkpoint_dir"}
    }
    best_settings = {"model": model, "dataset": dataset, **given, **best["params"]}
    write_text(out / "best.yaml", yaml.safe_dump(best_settings, sort_keys=False))
    table, head = tabulate_trials(trials, best), f"# {model} on {dataset}: {len(trials)} trials, {tool}, by validation"
    write_text(out / "trials.csv", table.to_csv())
    write_text(output_file or out / "trials.md", f"{head} {config['valid_metric']}\n\n{table.to_markdown()}")
    picture = report.encode_png(plot_trials(trials, config["valid_metric"], config["valid_metric_bigger"]))
    write_atomically(display_file or out / "trials.png", lambda file: Path(file).write_bytes(picture))
    result = _trained(model, dataset, config_file_list, {**common, **best["params"]}, out / "runs", data_hash)
    return {**result, "best_file": str(out / "best.yaml")}


def _trained(model, dataset, files, settings, runs: Path, data_hash: str) -> dict:
    """The result of the best settings: one that is there, of a run that is gone on with, or of a new one."""
    config = Config(model, dataset, files, settings)
    if result := finished(runs).get((config.hash, data_hash, config["seed"])):
        return result
    if begun := unfinished(runs, config, data_hash, config["seed"]):
        return run(resume=begun)
    return run(model, dataset, files, settings)


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
                raise UserError("a trial was never validated; set eval_step to 1 and stopping_step above 0")
            measured = {"best_valid_score": best["valid_score"], "best_valid_result": best["valid_result"]}
            return {**measured, "epochs": len(trainer.history), "seconds": time.perf_counter() - started}

        def callback(epoch, score):
            if after_epoch:
                after_epoch(standing())

        trainer.fit(
            train, valid, verbose=False, saved=False, show_progress=config["show_progress"], callback_fn=callback
        )
        return {**standing(), "model": self.model, "valid_score_bigger": config["valid_metric_bigger"]}


def _refuse_impossible(
    config: Config, tool: str, algo: str, space: dict[str, Range], max_evals: int, files: dict
) -> None:
    if importlib.util.find_spec(tool.lower()) is None:
        raise UserError(f"{tool} is not installed; pip install -c constraints.txt '.[tune]' in the checkout brings it")
    ranges = [name for name, each in space.items() if each.kind != "choice"]
    if tool == "Hyperopt" and algo == "exhaustive" and ranges:
        raise UserError(f"an exhaustive search needs choices, {', '.join(ranges)} has a range; use --algo=bayes")
    if max_evals < 1:
        raise UserError(f"max_evals must be at least 1, it is {max_evals}")
    if config["train_on"] == "all":
        raise UserError("with train_on=all nothing is held out to choose settings by; search with train_on=train")
    for option, file in files.items():
        if file:
            check_writable(file, option)


def _same_search(file: Path, described: dict, resume: bool) -> None:
    """Refuse to mix two searches in one folder, and to overwrite one."""
    if not file.is_file():
        write_text(file, json.dumps(described, indent=2) + "\n")
        return
    kept = json.loads(file.read_text(encoding="utf-8"))
    different = [key for key, value in described.items() if key != "settings" and kept.get(key) != value]
    settings, before = described["settings"], kept.get("settings", {})
    different += [key for key in sorted({*settings, *before}) if settings.get(key) != before.get(key)]
    if different:
        raise UserError(f"{file.parent} holds another search (other {', '.join(different)}); choose another --out")
    if not resume:
        raise UserError(f"{file.parent} holds this search already; go on with --resume or choose another --out")


def _described(config: Config, space: dict[str, Range], tool: str, algo: str, data_hash: str, max_evals: int) -> dict:
    ranges = {name: [each.kind, each.values] for name, each in space.items()}
    free = {*space, *NOT_IN_HASH} - {"seed"}
    fixed = {key: value for key, value in config.settings.items() if key not in free}
    facts = {"model": config.model, "dataset": config.dataset, "data": data_hash, "space": ranges, "settings": fixed}
    how = (
        {"algo": algo} if tool == "Hyperopt" else {"algo": "ASHA", "max_evals": max_evals}
    )  # Ray plans all its trials at once
    return json.loads(json.dumps({**facts, "tool": tool, **how}, default=str))


def _absolute(settings: dict, config: Config) -> dict:
    """A trial may run in another folder."""
    return {**settings, "data_path": str(Path(config.settings["data_path"]).resolve())}
