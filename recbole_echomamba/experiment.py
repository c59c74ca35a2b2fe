"""Train, validate and test one model, write its result, and load it again."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import torch
from recbole.data.dataset import SequentialDataset
from recbole.utils import get_flops, init_seed

from recbole_echomamba.config.config import Config
from recbole_echomamba.config.model_names import FULL_RANKING_ONLY, is_registered
from recbole_echomamba.data.dataset_files import atomic_files
from recbole_echomamba.data.preparation import create_dataset, data_preparation
from recbole_echomamba.data.run_ids import DataNeeded, RunIds
from recbole_echomamba.data.run_warnings import warn_of_data
from recbole_echomamba.data.transform import construct_transform
from recbole_echomamba.data.vocabulary import renumber_like_run
from recbole_echomamba.models import RECOMMENDERS
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable, sha256
from recbole_echomamba.system.ranks import is_distributed, is_main_process, process_rank
from recbole_echomamba.system.signals import Interrupted
from recbole_echomamba.system.terminal import PROGRESS, RunLog, is_verbose, run_log, showing_progress
from recbole_echomamba.training import checkpoint
from recbole_echomamba.training.distributed import spawn_ranks, torchrun_settings
from recbole_echomamba.training.mlflow_log import log_to_mlflow
from recbole_echomamba.training.progress import open_log, show_dataset, show_run
from recbole_echomamba.training.result import describe_result, write_result
from recbole_echomamba.training.run_directory import WEIGHTS_FILE, write_settings
from recbole_echomamba.training.saved_settings import load_config, settings_to_continue, settings_to_resume
from recbole_echomamba.training.trainer import Trainer
from recbole_echomamba.training.warm_start import start_from

MANY_ITEMS = 200_000
"""From so many items on, cross-entropy over all of them takes most of a training step, and a sampled loss is suggested."""


@dataclass(frozen=True)
class RunOptions:
    """What a run reads and writes, besides its settings.

    Attributes:
        saved: whether to keep a run directory and test the best epoch.
        result_file: where to write the result, besides the run directory.
        resume: the run directory to resume.
        verbose: whether to show all that is logged.
        gpu: the GPU that the caller asked for.
    """

    saved: bool = True
    result_file: Path | str | None = None
    resume: Path | str | None = None
    verbose: bool = False
    gpu: str = ""


class Experiment(NamedTuple):
    """The dataset, its ``train``, ``valid`` and ``test`` loaders, and a model that is not trained yet."""

    dataset: SequentialDataset
    train: torch.utils.data.DataLoader
    valid: torch.utils.data.DataLoader
    test: torch.utils.data.DataLoader
    model: torch.nn.Module


def run(
    model=None,
    dataset=None,
    config_file_list=None,
    config_dict=None,
    saved=True,
    nproc=1,
    world_size=-1,
    ip="localhost",
    port="5678",
    group_offset=0,
    result_file=None,
    resume=None,
    verbose=False,
    continue_from=None,
) -> dict:
    """Train, validate and test one model, like RecBole's ``run`` and for every sequential model.

    Progress and warnings are shown on stderr, unless the program has set up :mod:`logging` itself; ``log/`` has all that is
    logged.

    Args:
        model: a name, ``module:Class``, ``path/file.py:Class`` or a class, see :func:`.get_model`.
        dataset: a name.
        config_file_list: YAML files with settings, see :class:`Config`.
        config_dict: settings, see :class:`Config`.
        saved: whether to keep a run directory and test the best epoch; otherwise the last epoch is tested, as RecBole does.
        nproc: the number of processes on this machine. Under ``torchrun``, its settings replace this and the next four.
        world_size: the number of processes on all machines, ``nproc`` by default.
        ip: the address of the first machine.
        port: a free port on the first machine.
        group_offset: the rank of the first process on this machine.
        result_file: where to write the result as JSON, besides the run directory.
        resume: a run directory to resume with its own settings; ``config_dict`` may change ``epochs``, ``stopping_step`` and
            settings without an effect on the result, such as ``show_progress``.
        verbose: whether to show all that is logged.
        continue_from: a run directory to continue on data that have grown since: a new run with its settings, except for those in
            ``config_dict``, and with the setting ``init_from``.

    Returns:
        RecBole's ``best_valid_score, valid_score_bigger, best_valid_result, test_result`` and the other contents of
        ``result.json``. With ``train_on: all`` nothing is validated or tested, and both results are empty. With several
        processes on several machines, each machine returns the result of its first process.

    Raises:
        Interrupted: SIGINT or SIGTERM was received during training; the message says how to resume.
        MissingFileError: the data, a config file or the run directory does not exist.
        UserError: a setting, the data or the run directory cannot be used.
    """
    if nproc < 1:
        raise UserError(f"nproc must be at least 1, it is {nproc}")
    config_dict = dict(config_dict or {})
    gpu = str(config_dict.get("gpu_id", ""))
    if continue_from is not None:
        model, dataset, config_dict = settings_to_continue(continue_from, model, dataset, config_dict)
    if resume is not None:
        model, dataset, config_dict = settings_to_resume(resume, model, dataset, config_file_list, config_dict)
        config_file_list = None
    if result_file:
        check_writable(result_file, "--result_file")
    options = RunOptions(saved, result_file, resume, verbose or is_verbose(), gpu)
    run_process = partial(_run_process, model, dataset, config_file_list, options)
    if torch.distributed.is_torchelastic_launched():
        return run_process({**config_dict, **torchrun_settings()})
    if nproc == 1 and world_size <= 0:
        return run_process(config_dict)
    process_settings = {
        "nproc": nproc,
        "world_size": world_size if world_size > 0 else nproc,
        "ip": ip,
        "port": port,
        "offset": group_offset,
    }
    return spawn_ranks(run_process, nproc, {**config_dict, **process_settings})


def build(config: Config, before_split: Callable[[SequentialDataset], None] | None = None) -> Experiment:
    """Build dataset, loaders and model in RecBole's order.

    The order decides the numbers: seed, dataset, loaders, seed again, model. It is the order of ``recbole.quick_start``, so the
    random generators are drawn from as there, and RecBole's models give the same metrics here as there. The second seed differs
    by process, and makes the initial weights independent of what reading the data drew. The loaders come before the model also
    because the transform that they construct for BERT4Rec sets the mask settings that its model reads.

    Args:
        config: the settings.
        before_split: called with the dataset before it is split into the loaders.

    Raises:
        MissingFileError: the data do not exist.
        UserError: the data cannot be used with these settings.
    """
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    if before_split is not None:
        before_split(dataset)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"] + process_rank(config), config["reproducibility"])
    model = _build_model(config, train.dataset).to(config["device"])
    return Experiment(dataset, train, valid, test, model)


def _build_model(config: Config, dataset) -> torch.nn.Module:
    """Build the model; what a model of RecBole says of a setting that it refuses becomes a :class:`UserError`."""
    try:
        model = config.model_class(config, dataset)
    except (AssertionError, NotImplementedError, SystemExit) as error:
        if not config.model_class.__module__.startswith("recbole."):
            raise
        # an assertion without a message is named by its line
        reason = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        raise UserError(f"{config.model} cannot be built with these settings: {reason}") from None
    if config["learner"] == "sparse_adam":
        sparse = {id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding) and part.sparse}
        dense = next((name for name, parameter in model.named_parameters() if id(parameter) not in sparse), None)
        if dense is not None:
            raise UserError(f"learner: sparse_adam needs sparse gradients, which {dense} has not; set learner: adam")
    return model


def load_run(directory, model=None, config_dict=None):
    """Rebuild a saved run.

    Users and items have the ids they had in training, even if the data have changed since, see :func:`.renumber_like_run`. Users
    that are new in the data are left out for a model with an embedding per user.
    The module of a custom model is imported, as ``config.yaml`` names it.

    Args:
        directory: a run directory.
        model: the class of a custom model or ``module:Class``, if it cannot be imported as ``config.yaml`` names it.
        config_dict: settings to change, such as the device; ``training/saved_settings.py`` lists those that can.

    Returns:
        ``config, model, dataset, train, valid, test``: the model in evaluation mode with the weights of its best epoch, and the
        three loaders.

    Raises:
        MissingFileError: the run directory, one of its files or the data do not exist.
        UserError: a setting cannot change, or a file is damaged or belongs to another model.
    """
    config = load_config(directory, model, config_dict)

    def renumber(dataset, keep_new_users=True):
        renumber_like_run(dataset, directory, sha256(*atomic_files(config)), keep_new_users=keep_new_users)

    weights = Path(directory) / WEIGHTS_FILE
    built = build(config, before_split=renumber)
    try:
        checkpoint.load_weights(built.model, weights)
    except UserError:
        if not checkpoint.lacks_rows(weights, built.model, built.dataset.user_num):
            raise
        built = build(config, before_split=partial(renumber, keep_new_users=False))
        checkpoint.load_weights(built.model, weights)
    return config, built.model.eval(), built.dataset, built.train, built.valid, built.test


def load_without_data(directory, model=None, config_dict=None):
    """Rebuild the model of a saved run where its data are not there, from the run directory alone.

    Args:
        directory: a run directory.
        model: see :func:`load_run`.
        config_dict: see :func:`load_run`.

    Returns:
        ``config, model, ids``: the model in evaluation mode with the weights of its best epoch, and a
        :class:`~recbole_echomamba.data.run_ids.RunIds`.

    Raises:
        DataNeeded: the model reads more of the data than the ids of users and items.
        MissingFileError: the run directory or one of its files does not exist.
        UserError: a setting cannot change, or a file is damaged or belongs to another model.
    """
    config = load_config(directory, model, config_dict)
    if not is_registered(config.model_class):
        raise DataNeeded("a custom model may read anything of the data")
    # the transform of BERT4Rec sets the mask settings that its model reads
    construct_transform(config)
    ids = RunIds(config, directory)
    built = _build_model(config, ids).to(config["device"])
    checkpoint.load_weights(built, Path(directory) / WEIGHTS_FILE)
    return config, built.eval(), ids


def _run_process(model, dataset, config_file_list, options: RunOptions, config_dict: dict) -> dict:
    """Do the part of this process in a run, and return the result."""
    main_process = config_dict.get("offset", 0) + config_dict.get("local_rank", 0) == 0
    with showing_progress(options.verbose, main_process), run_log() as log:
        config = Config(model, dataset, config_file_list, config_dict)
        if options.gpu and config["device"].type == "cpu" and is_main_process(config):
            getLogger().warning("setting 'gpu_id' has no effect: torch finds no GPU %s, so the CPU trains", options.gpu)
        try:
            return _run(config, options, log)
        finally:
            if is_distributed(config):
                torch.distributed.destroy_process_group()


def _run(config: Config, options: RunOptions, log: RunLog) -> dict:
    if is_main_process(config):
        PROGRESS.info("%s on %s, seed %d", config.model, config.dataset, config["seed"])
    built = build(config, before_split=partial(_prepare_dataset, config, options, log))
    if is_main_process(config):
        warn_of_data(config, built.dataset, [loader.dataset for loader in (built.train, built.valid, built.test)])
    _suggest_sampled_loss(config, built.dataset.item_num)
    _log_model(config, built)
    trainer = Trainer(config, built.model)
    try:
        if options.resume is not None:
            trainer.resume(options.resume)
            if options.saved and is_main_process(config):
                write_settings(Path(options.resume), config)
        if config["init_from"] and not trainer.history:
            start_from(trainer, config["init_from"])
        test_result = _train_and_test(trainer, built, options.saved)
        result = {**describe_result(trainer, test_result), "warnings": log.warnings}
        if is_main_process(config):
            write_result(result, trainer, built.dataset, options.saved, options.result_file)
            if config["log_mlflow"]:
                log_to_mlflow(result)
    finally:
        trainer.release()
    return result


def _prepare_dataset(config: Config, options: RunOptions, log: RunLog, dataset: SequentialDataset) -> None:
    """Number the dataset like the run that this one begins with, and open the log, now that the data are known to be readable."""
    if config["init_from"]:
        renumber_like_run(dataset, config["init_from"], sha256(*atomic_files(config)), keep_new_items=True)
    if is_main_process(config):
        show_dataset(dataset, open_log(log, config))
    getLogger().info(config)
    getLogger().info(dataset)


def _suggest_sampled_loss(config: Config, n_items: int) -> None:
    """Say what a sampled loss would save where scoring every item is most of a step."""
    silent = "loss_type" not in config.external_config_dict
    if silent and config["loss_type"] == "CE" and "train_negatives" in config and n_items > MANY_ITEMS:
        getLogger().warning(
            "every step scores all %d items: loss_type: SampledCE scores each target against %d sampled ones, and learner: "
            "lazy_adam updates only those that a step has read",
            n_items,
            config["train_negatives"],
        )


def _log_model(config: Config, built: Experiment) -> None:
    """Show what is trained on what, and log the model and what a step costs."""
    logger = getLogger()
    if is_main_process(config):
        show_run(config, [built.train, built.valid, built.test], built.model)
    logger.info(built.model)
    if config.model not in RECOMMENDERS and config.model not in FULL_RANKING_ONLY:
        # Counting draws from the random generators, so without it the numbers of RecBole's models would not be RecBole's.
        # RecBole's counter misses operations that are no modules and would undercount our models, so theirs are not counted.
        transform = construct_transform(config)
        logger.info("FLOPs: %s", get_flops(built.model, built.dataset, config["device"], logger, transform))


def _train_and_test(trainer: Trainer, built: Experiment, saved: bool) -> dict:
    """Train the model and return its test metrics, none if it is trained on all data."""
    show_progress = trainer.config["show_progress"]
    if trainer.config["train_on"] == "all":
        trainer.fit(built.train, None, saved=saved, show_progress=show_progress)
        return {}
    trainer.fit(built.train, built.valid, saved=saved, show_progress=show_progress)
    try:
        return trainer.evaluate(built.test, load_best_model=saved, show_progress=show_progress) or {}
    except KeyboardInterrupt:
        raise Interrupted(trainer.interruption_message()) from None
