"""Search for the settings of a model by validation, with Optuna, Hyperopt or Ray Tune; an interrupted search can be resumed."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import yaml
from recbole.model.abstract_recommender import SequentialRecommender

from dataset_prep.words import count
from recbole_echomamba import report
from recbole_echomamba.config.config import Config
from recbole_echomamba.config.settings_files import PROCESS_KEYS, find_config_file, properties_directory
from recbole_echomamba.config.settings_hash import hashed_settings
from recbole_echomamba.data.dataset_files import atomic_files
from recbole_echomamba.data.preparation import create_dataset
from recbole_echomamba.experiment import run
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import (
    check_writable,
    read_json,
    remove_leftovers,
    sha256,
    write_atomically,
    write_text,
)
from recbole_echomamba.system.terminal import PROGRESS
from recbole_echomamba.training.run_directory import reuse_or_resume
from recbole_echomamba.tuning.objective import Objective
from recbole_echomamba.tuning.report import find_best, plot_trials, render_search, tabulate_trials
from recbole_echomamba.tuning.search_space import Range, convert_to_plain, read_space


@dataclass(frozen=True)
class SearchOptions:
    """How to search; the attributes are arguments of :func:`tune`."""

    tool: str
    algo: str
    max_evals: int
    early_stop: int
    resume: bool
    ray_address: str | None
    cpus_per_trial: float
    gpus_per_trial: float


def tune(
    model: str | type[SequentialRecommender] | None,
    dataset: str | None,
    config_file_list: list[str] | None = None,
    config_dict: dict | None = None,
    *,
    params_file: Path | str | None = None,
    out: Path | str | None = None,
    tool: str = "Optuna",
    algo: str | None = None,
    max_evals: int = 10,
    early_stop: int = 10,
    resume: bool = False,
    output_file: Path | str | None = None,
    display_file: Path | str | None = None,
    ray_address: str | None = None,
    cpus_per_trial: float = 1,
    gpus_per_trial: float = 0,
) -> dict:
    """Search by validation, then train the best settings once more and test them; nothing else reads the test part.

    Writes ``best.yaml`` (for ``--config_files``), ``trials.csv``, ``trials.md``, ``trials.png`` and the page ``report.html`` into
    ``out``, and keeps the trials there to resume the search.

    Args:
        model: the name or class of the model, see :func:`.get_model`, unless a config file has it.
        dataset: the name of the dataset, unless a config file has it.
        config_file_list: YAML files with settings of all trials, see :class:`Config`.
        config_dict: settings of all trials.
        params_file: the ``.hyper`` file with the search space; by default that of the model in ``properties/hyper``.
        out: the folder of the search, by default ``tuning/MODEL-DATASET``.
        tool: ``Optuna``, ``Hyperopt`` or ``Ray``.
        algo: how Hyperopt and Optuna search: ``exhaustive``, ``random`` or ``bayes``; by default ``exhaustive``, or ``bayes``
            where the space has a range, of which there is no last value.
        max_evals: the number of trials; an exhaustive search makes all.
        early_stop: Hyperopt and Optuna stop after this many trials without a better one.
        resume: whether to resume the search in ``out``.
        output_file: the file to write instead of ``trials.md``.
        display_file: the file to write instead of ``trials.png``.
        ray_address: the address of a running Ray cluster; by default Ray is started on this machine.
        cpus_per_trial: the CPU cores that Ray reserves for each trial.
        gpus_per_trial: the GPUs that Ray reserves for each trial.

    Returns:
        The result of the last run, see :func:`.experiment.run`, with the paths of ``best.yaml`` (``best_file``) and of the page
        (``report``).

    Raises:
        MissingFileError: the data, ``params_file`` or the folder of an output file does not exist.
        UserError: a setting or option cannot be used, ``out`` holds another search, or every trial failed.
        KeyboardInterrupt: the search was interrupted; the finished trials are kept.
    """
    named = Config(model, dataset, config_file_list, config_dict)
    model, dataset = named.model_reference or named.model_class, named.dataset
    space = read_space(params_file or properties_directory() / "hyper" / f"{named.model}.hyper")
    algo = algo or ("bayes" if list_continuous(space) else "exhaustive")
    options = SearchOptions(tool, algo, max_evals, early_stop, resume, ray_address, cpus_per_trial, gpus_per_trial)
    out = Path(out or f"tuning/{named.model}-{dataset}").resolve()
    table_file = Path(output_file or out / "trials.md")
    plot_file = Path(display_file or out / "trials.png")
    common = {**(config_dict or {}), "checkpoint_dir": str(out / "runs")}
    for name in sorted(set(space) & set(common)):
        getLogger().warning("setting %r has no effect: the search varies it", name)

    # Settings with one value of each range: an unknown setting ends the search before it starts.
    first_values = {name: each.first_value for name, each in space.items()}
    config = Config(model, dataset, config_file_list, {**common, **convert_to_plain(first_values)})
    check_options(options, config, space)
    if options.tool != "Ray" and options.algo == "exhaustive":
        combinations = count(math.prod(len(each.values) for each in space.values()), "combination")
        PROGRESS.info(
            "exhaustive search of %s; %d trials in a row without a better one end it", combinations, early_stop
        )
    for option, file in [("--output_file", output_file), ("--display_file", display_file)]:
        if file:
            check_writable(file, option)
    # Reading the data shows what is missing in them before anything is trained.
    create_dataset(config)
    data_hash = sha256(*atomic_files(config))
    out.mkdir(parents=True, exist_ok=True)
    check_same_search(out / "search.json", describe_search(config, space, options, data_hash), resume)

    objective = make_objective(model, dataset, config_file_list or [], common, config)
    trials = drop_failed(run_search(objective, space, out, config, options))
    best = find_best(trials, config["valid_metric_bigger"])

    if options.tool != "Optuna":
        # no other process writes into this folder
        remove_leftovers(out)
    write_best_settings(out / "best.yaml", config, best["params"])
    table = tabulate_trials(trials, best)
    title = (
        f"{config.model} on {dataset}: {count(len(trials), 'trial')}, {tool}, by validation {config['valid_metric']}"
    )
    write_text(out / "trials.csv", table.to_csv())
    write_text(table_file, f"# {report.escape_markdown(title)}\n\n{table.to_markdown()}")
    plot = report.encode_png(plot_trials(trials, config["valid_metric"], config["valid_metric_bigger"], space))
    write_atomically(plot_file, lambda file: Path(file).write_bytes(plot))

    new_run = {
        "model": model,
        "dataset": dataset,
        "config_file_list": config_file_list,
        "config_dict": {**common, **best["params"]},
    }
    best_config = Config(**new_run)
    result = reuse_or_resume(out / "runs", best_config, data_hash, best_config["seed"], run, new_run)
    write_text(out / "report.html", render_search(title, trials, config["valid_metric"], space, plot, result))
    return {**result, "best_file": str(out / "best.yaml"), "report": str(out / "report.html")}


def check_options(options: SearchOptions, config: Config, space: dict[str, Range]) -> None:
    """Check that the search can be made, before anything is trained.

    Raises:
        UserError: the tool is not installed, does not search these ranges, makes no trial, or nothing is held out to validate.
    """
    if importlib.util.find_spec(options.tool.lower()) is None:
        raise UserError(
            f"{options.tool} is not installed; install it with pip install -c constraints.txt '.[tune]' in the checkout"
        )
    continuous = list_continuous(space)
    if options.tool != "Ray" and options.algo == "exhaustive" and continuous:
        raise UserError(
            f"an exhaustive search needs choices, but {', '.join(continuous)} has a range; use --algo=bayes"
        )
    if options.max_evals < 1:
        raise UserError(f"max_evals must be at least 1, it is {options.max_evals}")
    if config["train_on"] == "all":
        raise UserError("with train_on=all nothing is held out to choose settings by; search with train_on=train")


def list_continuous(space: dict[str, Range]) -> list[str]:
    """Return the names of the settings that are drawn from a range, not from a list of choices."""
    return [name for name, each in space.items() if each.kind != "choice"]


def describe_search(config: Config, space: dict[str, Range], options: SearchOptions, data_hash: str) -> dict:
    """Return what makes a search the same search, in types that JSON can hold.

    Args:
        config: settings that all trials share, apart from those in ``space``.
        space: the ranges of the settings by name.
        options: how to search.
        data_hash: the SHA-256 of the atomic files.
    """
    description = {
        "model": config.model,
        "dataset": config.dataset,
        "data": data_hash,
        "space": {name: [each.kind, each.values] for name, each in space.items()},
        "settings": {key: value for key, value in _decisive(config.settings).items() if key not in space},
        "tool": options.tool,
    }
    if options.tool != "Ray":
        description["algo"] = options.algo
    else:
        # Ray plans all trials at the start, so a resumed search cannot have more.
        description |= {"algo": "ASHA", "max_evals": options.max_evals}
    return json.loads(json.dumps(description, default=str))


def _decisive(settings: dict) -> dict:
    """Return the settings that decide the results of a search; those of an earlier version may lack what was added later."""
    return {**hashed_settings(settings), "seed": settings.get("seed")}


def check_same_search(file: Path, description: dict, resume: bool) -> None:
    """Check that a folder holds no other search, and this one only if it is to be resumed.

    Args:
        file: the description of the search in the folder; written if it does not exist.
        description: the description of this search, see :func:`describe_search`.
        resume: whether the search is to be resumed.

    Raises:
        UserError: otherwise.
    """
    if not file.is_file():
        write_text(file, json.dumps(description, indent=2) + "\n")
        return
    earlier = read_json(file, "choose another --out")
    if earlier.get("tool") != description["tool"]:
        raise UserError(
            f"{file.parent} holds a search with {earlier.get('tool')}; "
            f"resume it with --tool={earlier.get('tool')} --resume, or choose another --out"
        )
    different = [key for key, value in description.items() if key != "settings" and earlier.get(key) != value]
    settings, earlier_settings = description["settings"], _decisive(earlier.get("settings") or {})
    for key in sorted({*settings, *earlier_settings}):
        if settings.get(key) != earlier_settings.get(key):
            different.append(key)
    if different:
        raise UserError(
            f"{file.parent} holds another search, with different {', '.join(different)}; choose another --out"
        )
    if not resume:
        raise UserError(f"{file.parent} holds this search already; resume it with --resume, or choose another --out")


def make_objective(
    model: str | type[SequentialRecommender], dataset: str, config_files: list[str], settings: dict, config: Config
) -> Objective:
    """Return the objective of all trials, with absolute paths: Ray runs trials in other folders."""
    files = [str(find_config_file(file).resolve()) for file in config_files]
    data_path = str(Path(config.settings["data_path"]).resolve())
    return Objective(model, dataset, files, {**settings, "data_path": data_path})


def run_search(
    objective: Objective, space: dict[str, Range], out: Path, config: Config, options: SearchOptions
) -> list[dict]:
    """Make all trials with the chosen tool, those that a resumed search has finished excepted, and return them."""
    # The tools are optional, and are imported only when they are used.
    if options.tool == "Ray":
        from recbole_echomamba.tuning import ray_search

        return ray_search.search(
            objective,
            space,
            out,
            config,
            max_evals=options.max_evals,
            resume=options.resume,
            address=options.ray_address,
            cpus=options.cpus_per_trial,
            gpus=options.gpus_per_trial,
        )
    if options.tool == "Optuna":
        from recbole_echomamba.tuning import optuna_search

        search = optuna_search.Search(
            objective,
            space,
            out,
            algo=options.algo,
            max_evals=options.max_evals,
            early_stop=options.early_stop,
            seed=config["seed"],
            maximize=config["valid_metric_bigger"],
        )
        search.run()
        return search.trials
    from recbole_echomamba.tuning.hyperopt_search import Search

    search = Search(
        objective,
        space,
        out / "trials.jsonl",
        algo=options.algo,
        max_evals=options.max_evals,
        early_stop=options.early_stop,
        seed=config["seed"],
    )
    search.run()
    return search.trials


def drop_failed(trials: list[dict]) -> list[dict]:
    """Return the trials that have a score.

    Raises:
        UserError: every trial failed; the message is that of the last one.
    """
    scored = [trial for trial in trials if trial["best_valid_score"] is not None]
    if not scored:
        reason = trials[-1]["error"] if trials else "see the log above"
        raise UserError(f"every trial failed: {reason}")
    return scored


def write_best_settings(file: Path, config: Config, params: dict) -> None:
    """Write the settings that the user gave and those of the best trial as YAML, for ``--config_files``.

    Args:
        file: the file to write.
        config: settings that all trials share.
        params: the settings of the best trial.
    """
    left_out = {*PROCESS_KEYS, "checkpoint_dir", "model", "dataset"}
    given = {key: value for key, value in config.external_config_dict.items() if key not in left_out}
    settings = {"model": config.model_reference or config.model, "dataset": config.dataset, **given, **params}
    write_text(file, yaml.safe_dump(settings, sort_keys=False))
