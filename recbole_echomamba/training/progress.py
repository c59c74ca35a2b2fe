"""Say in a few lines what is run and how training goes."""

from __future__ import annotations

import logging
import shutil
import textwrap
import time
from pathlib import Path

import torch

from dataset_prep.words import count
from recbole_echomamba.config.config import Config
from recbole_echomamba.config.settings_hash import hashed_settings
from recbole_echomamba.system.hardware import describe_machine
from recbole_echomamba.system.ranks import is_distributed
from recbole_echomamba.system.terminal import PROGRESS, RunLog, format_duration

LABEL = "  {:<10}"
"""The first column of a summary."""

PARTS = ("to train", "to validate", "to test")


def open_log(log: RunLog, config: Config) -> Path:
    """Write the log of a run to ``log/MODEL/`` in the working directory, down to the level of the setting ``state``.

    Returns:
        The log file, which its first record creates.
    """
    name = f"{config.model}-{config.dataset}-{time.strftime('%Y%m%d-%H%M%S')}-s{config['seed']}-{config.hash}.log"
    file = Path("log", config.model, name)
    log.open(file, logging.getLevelName(str(config["state"]).upper()))
    return file


def show_dataset(dataset, log_file: Path) -> None:
    """Show the size of a dataset that is not split yet, and where its run is logged."""
    sizes = ", ".join(
        [
            count(dataset.user_num - 1, "user"),
            count(dataset.item_num - 1, "item"),
            count(dataset.inter_num, "interaction"),
        ]
    )
    filtered = getattr(dataset, "filtered_users", 0)
    show_line("data", f"{sizes}; {count(filtered, 'user')} left out by the filters" if filtered else sizes)
    show_line("log", str(log_file))


def show_run(config: Config, loaders: list, model: torch.nn.Module) -> None:
    """Show the samples, the model, the settings that differ from the defaults, and the device.

    Args:
        config: the settings.
        loaders: the loaders for training, validation and test.
        model: the model.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    read = loaders[:1] if config["train_on"] == "all" else loaders
    samples = [f"{len(loader.dataset):,} {part}" for loader, part in zip(read, PARTS, strict=False)]
    show_line("samples", ", ".join(samples))
    show_line("model", f"{parameters:,} parameters")
    show_line("settings", describe_changes(config))
    show_line("device", _describe_device(config["device"]))
    if is_distributed(config):
        each, processes = loaders[0].step, config["world_size"]
        show_line("parallel", f"{processes} processes: {each * processes} samples a step, {each} in each")


def show_line(label: str, text: str) -> None:
    """Show a line of the summary, folded to the width of the terminal between words."""
    head = LABEL.format(label)
    fold = textwrap.TextWrapper(
        max(shutil.get_terminal_size().columns, 80),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    PROGRESS.info("%s", fold.fill(text))


def describe_changes(config: Config) -> str:
    """Return the settings that differ from the defaults and can change the result, with the default of each."""
    changes = []
    defaults = config.default_settings
    for key, value in hashed_settings(config.settings).items():
        default = defaults.get(key)
        if key in config.external_config_dict and value != default:
            changes.append(f"{key} {value} (default {default})")
    return ", ".join(changes) or "the defaults"


class EpochLines:
    """Show where a run is kept, and a line after each epoch: loss, validation, best, time, and the most time that is left.

    All metrics of the validation are logged, too. Epochs count from 1.

    Args:
        trainer: the trainer, whose run directory is known and which is about to train.
        batches: the number of batches of an epoch, over which the loss is averaged.
        shown: whether anything is shown.
    """

    def __init__(self, trainer, batches: int, shown: bool):
        self._trainer = trainer
        self._batches = batches
        self._shown = shown
        self._started: float | None = None
        self._seconds: list[float] = []
        if shown and trainer.run_directory is not None:
            show_line("kept in", str(trainer.run_directory))
            if trainer.start_epoch:
                show_line("resumed", f"after epoch {trainer.start_epoch}")

    def start_epoch(self) -> None:
        """Start to measure the time of an epoch."""
        self._started = time.perf_counter()

    def complete_epoch(self) -> None:
        """Show the line of the epoch that was started last and is validated now; nothing if there is none."""
        if self._started is None:
            return
        self._seconds.append(time.perf_counter() - self._started)
        self._started = None
        if self._shown:
            PROGRESS.info(self._describe_epoch())
            entry = self._trainer.history[-1]
            if "valid_result" in entry:
                logging.getLogger().info("validation after epoch %d: %s", entry["epoch"] + 1, entry["valid_result"])

    def _describe_epoch(self) -> str:
        trainer, entry = self._trainer, self._trainer.history[-1]
        done, epochs = entry["epoch"] + 1, trainer.epochs
        parts = [f"epoch {done:>{len(str(epochs))}}/{epochs}", f"loss {entry['train_loss'] / self._batches:.4f}"]
        if "valid_score" in entry:
            best = next(each for each in trainer.history if each["epoch"] == trainer.best_epoch)
            parts.append(f"{trainer.valid_metric} {entry['valid_score']:.4f}")
            parts.append(f"best {best['valid_score']:.4f} (epoch {best['epoch'] + 1})")
        parts.append(format_duration(self._seconds[-1]))
        if trainer.cur_step > trainer.stopping_step:
            parts.append(f"stopped: {count(trainer.cur_step, 'validation')} without a better one")
        elif done < epochs:
            left = sum(self._seconds) / len(self._seconds) * (epochs - done)
            parts.append(f"at most {format_duration(left)} left")
        return "  ".join(parts)


def _describe_device(device: torch.device) -> str:
    machine = describe_machine(device)
    threads = machine["threads"]
    cpu = f"{machine['processor']}, {count(threads, 'thread')}"
    return f"{machine['gpu']}, {cpu}" if "gpu" in machine else f"CPU, {cpu}"
