"""One run from settings to result: data, model, training, test, and the files that let someone trust it."""

from __future__ import annotations

import json
import os
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from recbole.data.transform import construct_transform
from recbole.utils import get_flops, init_logger, init_seed
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from recbole_echomamba.config.config import NOT_IN_HASH, Config
from recbole_echomamba.config.model_names import get_model
from recbole_echomamba.data.preparation import atomic_files, create_dataset, data_preparation
from recbole_echomamba.data.vocabulary import renumber_like_run
from recbole_echomamba.models import RECOMMENDERS
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable, sha256, write_atomically, write_text
from recbole_echomamba.system.hardware import describe_machine, list_versions, measure_peak_memory
from recbole_echomamba.system.signals import Interrupted
from recbole_echomamba.training import checkpoint
from recbole_echomamba.training.trainer import Trainer


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
) -> dict:
    """Train, validate and test one model; RecBole's ``run`` for every sequential model.

    Args:
        model: a name or a class. dataset: a name. config_file_list, config_dict: settings, see :class:`Config`.
        saved: keep a run directory and test its best epoch; otherwise test the last epoch, as RecBole does.
        nproc, world_size, ip, port, group_offset: processes here, in all, and where they meet; under ``torchrun`` its own.
        result_file: where to write the result as JSON, besides the run directory's ``result.json``.
        resume: a run directory to go on with, under its own settings; ``config_dict`` may raise ``epochs`` and
            ``stopping_step`` and change what has no effect on the result, such as ``show_progress``.

    Returns:
        RecBole's ``best_valid_score, valid_score_bigger, best_valid_result, test_result``, and what ``result.json`` holds.
        With ``train_on: all`` nothing is validated or tested and both results are empty.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came during training; the message says how to go on.
        ValueError, FileNotFoundError: settings, data or a run directory that will not do; one line says why.
    """
    if nproc < 1:
        raise UserError(f"nproc must be at least 1, it is {nproc}")
    config_dict = dict(config_dict or {})
    if resume is not None:
        model, dataset, config_dict = _continued(resume, model, dataset, config_file_list, config_dict)
        config_file_list = None
    rest = (saved, result_file, resume)
    if torch.distributed.is_torchelastic_launched():
        return _run_here(model, dataset, config_file_list, {**config_dict, **_torchrun()}, *rest)
    if nproc == 1 and world_size <= 0:
        return _run_here(model, dataset, config_file_list, config_dict, *rest)
    processes = {"nproc": nproc, "ip": ip, "port": port, "offset": group_offset}
    processes["world_size"] = world_size if world_size > 0 else nproc
    return _run_ranks(nproc, (model, dataset, config_file_list, {**config_dict, **processes}, rest))


MAY_CHANGE = {"epochs", "stopping_step"}
"""Settings that only decide how long a run goes on."""


def _continued(directory, model, dataset, config_file_list, config_dict):
    """The settings of a run that goes on; ValueError when others are asked for."""
    kept = checkpoint.read_settings(directory)
    own_model, own_dataset = kept.pop("model"), kept.pop("dataset")
    asked = {**config_dict, **({"config_files": config_file_list} if config_file_list else {})}
    fixed = [key for key in asked if key not in MAY_CHANGE | NOT_IN_HASH or key == "seed"]
    if fixed:
        allowed = " and ".join(sorted(MAY_CHANGE))
        raise UserError(f"{directory} goes on with its own settings: {allowed} can change, {fixed[0]} cannot")
    for given, own in ((model, own_model), (dataset, own_dataset)):
        if isinstance(given, str) and given != own:
            raise UserError(f"{directory} is a run of {own_model} on {own_dataset}, not of {given}")
    return model or own_model, own_dataset, {**kept, **config_dict}


def _torchrun() -> dict:
    """The settings of this process under ``torchrun``, from the environment it sets."""
    rank, local_rank, processes = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    return {"local_rank": local_rank, "offset": rank - local_rank, "world_size": processes, "nproc": processes}


def _run_ranks(nproc: int, arguments: tuple) -> dict:
    """Start ``nproc`` processes and return what the first of all ranks returns, or raise the clearest of their errors."""
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()
    ranks = torch.multiprocessing.spawn(_run_rank, args=(*arguments, queue), nprocs=nproc, join=False)
    outcomes, failure = [], None
    try:
        while not ranks.join(timeout=1):
            outcomes += _waiting_in(queue)  # a long history would fill the pipe and hold its sender up
    except (KeyboardInterrupt, ProcessRaisedException, ProcessExitedException) as error:
        failure = error
        for process in ranks.processes:
            process.join(LAST_WORDS)
            process.kill()
    outcomes += _waiting_in(queue)
    if error := next((outcome for outcome in outcomes if isinstance(outcome, BaseException)), failure):
        raise error from None
    return outcomes[0] if outcomes else {}


LAST_WORDS = 30
"""Seconds that processes have to end after an interruption, before they are killed: one may wait for another that ended."""


def _waiting_in(queue) -> list:
    found = []
    while not queue.empty():
        found.append(queue.get())
    return found


def _run_rank(local_rank, model, dataset, config_file_list, config_dict, rest, queue):
    try:
        result = _run_here(model, dataset, config_file_list, {**config_dict, "local_rank": local_rank}, *rest)
    except UserError as error:
        queue.put(type(error)(str(error)))
        raise
    except Interrupted as stopped:
        if local_rank == 0:
            queue.put(stopped)
        raise
    if local_rank == 0:
        queue.put(result)


def _run_here(model, dataset, config_file_list, config_dict, saved, result_file, resume) -> dict:
    if result_file:
        check_writable(result_file, "--result_file")
    config = Config(model, dataset, config_file_list, config_dict)
    try:
        return _run(config, saved, result_file, resume)
    finally:
        if not config["single_spec"]:
            torch.distributed.destroy_process_group()


def _run(config, saved, result_file, resume) -> dict:
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    # RecBole's own way of making this folder fails when two processes try
    Path("log", config["model"]).mkdir(parents=True, exist_ok=True)
    init_logger(config)
    logger = getLogger()
    logger.info(config)
    logger.info(dataset)
    loaders = data_preparation(config, dataset)
    rank = 0 if config["single_spec"] else torch.distributed.get_rank()
    init_seed(config["seed"] + rank, config["reproducibility"])
    model = config.model_class(config, loaders[0].dataset).to(config["device"])
    logger.info(model)
    if config.model not in RECOMMENDERS:
        # RecBole's hooks miss operations called without a module, so ours would be undercounted. Its own models are
        # counted because the count draws from the generators: without it their numbers would not be RecBole's.
        logger.info("FLOPs: %s", get_flops(model, dataset, config["device"], logger, construct_transform(config)))
    trainer = Trainer(config, model)
    if not config["single_spec"]:
        each, processes = loaders[0].step, config["world_size"]
        logger.info("%d processes: %d samples a step, %d in each", processes, each * processes, each)
    try:
        if resume is not None:
            trainer.resume(resume)
            if trainer.leads and saved:
                checkpoint.write_settings(Path(resume), config)
        result = _train_and_test(config, trainer, loaders, saved)
        if trainer.leads:
            _write_result(result, trainer, dataset, result_file, saved)
    finally:
        trainer.release()
    return result


def _train_and_test(config, trainer: Trainer, loaders, saved: bool) -> dict:
    train, valid, test = loaders
    progress = config["show_progress"]
    everything = config["train_on"] == "all"
    best_score, best_valid = trainer.fit(train, None if everything else valid, saved=saved, show_progress=progress)
    tested = {} if everything else trainer.evaluate(test, load_best_model=saved, show_progress=progress)
    epochs = trainer.history
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "variant": config["variant"],
        "seed": config["seed"],
        "processes": 1 if config["single_spec"] else config["world_size"],
        "config": config.settings,
        "config_hash": config.hash,
        "data_hash": trainer.data_hash,
        "best_valid_score": float(best_score) if best_valid else None,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": {k: float(v) for k, v in (best_valid or {}).items()},
        "test_result": {k: float(v) for k, v in (tested or {}).items()},
        "best_epoch": trainer.best_epoch,
        "epochs": len(epochs),
        "seconds_per_epoch": float(np.mean([entry["seconds"] for entry in epochs])),
        "users_per_second": trainer.users_per_second,
        "peak_memory": measure_peak_memory(config["device"]),
        "parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "history": epochs,
        "machine": describe_machine(config["device"]),
        "versions": list_versions(),
        "run_directory": str(trainer.run_directory) if trainer.run_directory else None,
    }


def _write_result(result: dict, trainer: Trainer, dataset, result_file, saved: bool) -> None:
    text = json.dumps(result, indent=2, default=str) + "\n"
    if saved:
        ranks = trainer.eval_collector.ranks()
        if len(ranks["rank"]):
            _write_ranks(trainer.run_directory / "test_ranks.parquet", ranks, dataset)
        write_text(trainer.run_directory / checkpoint.RESULT, text)
    if result_file:
        write_text(result_file, text)


def _write_ranks(file: Path, ranks: dict, dataset) -> None:
    import pyarrow
    import pyarrow.parquet

    table = {
        "user": dataset.id2token(dataset.uid_field, ranks["user"]).astype(str),
        "item": dataset.id2token(dataset.iid_field, ranks["item"]).astype(str),
        "rank": ranks["rank"],
        "history": ranks["history"],
    }
    write_atomically(file, lambda temporary: pyarrow.parquet.write_table(pyarrow.table(table), temporary))


AFTERWARDS = {
    *NOT_IN_HASH,
    *("user_inter_num_interval", "item_inter_num_interval", "val_interval", "exact_time_order", "encoding"),
    *("eval_args", "eval_batch_size", "metrics", "topk", "valid_metric", "metric_decimal_place", "train_batch_size"),
}
"""Settings a trained model can be looked at with: what it is shown and how it is scored, nothing that makes it another model."""


def load_run(directory, model=None, config_dict=None):
    """Rebuild a saved run: ``config, model, dataset, train, valid, test``, the model with its best weights, in eval mode.

    Users and items have the ids of the training, also when the data have changed since: see :func:`.renumber_like_run`.

    Args:
        directory: a run directory. model: the class, when the run was made with one that has no registered name.
        config_dict: settings to change, of :data:`AFTERWARDS`, such as the device.

    Raises ValueError or FileNotFoundError when a setting cannot change, or a file is missing, damaged or of another model.
    """
    settings = checkpoint.read_settings(directory)
    name, dataset_name = settings.pop("model"), settings.pop("dataset")
    if fixed := sorted(set(config_dict or {}) - AFTERWARDS):
        raise UserError(f"{directory} is a trained run: {', '.join(fixed)} cannot change any more; train a new run")
    config = Config(model or get_model(name), dataset_name, config_dict={**settings, **(config_dict or {})})
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    renumber_like_run(dataset, directory, sha256(*atomic_files(config)))
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    built = config.model_class(config, train.dataset).to(config["device"])
    checkpoint.load_weights(built, Path(directory) / checkpoint.WEIGHTS)
    return config, built.eval(), dataset, train, valid, test
