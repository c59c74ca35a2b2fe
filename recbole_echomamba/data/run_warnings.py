"""Warn of what the data, their order and their split mean for the metrics of a run that is trained and tested."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

import numpy as np
import pandas as pd

from dataset_prep.record import read_order
from dataset_prep.words import count
from recbole_echomamba.data.atomic_file import read_atomic_file
from recbole_echomamba.data.dataset_files import atomic_file, read_inter_header
from recbole_echomamba.data.samples import measure_future
from recbole_echomamba.data.windowed_interaction import WindowedInteraction

MAX_TIMES = 1_000_000
"""How many training interactions are looked at to say how many are later than the test targets."""

RAW_TIME = "raw_timestamp"
"""The column with the times where ``dataset_prep --order time`` has put positions in the history into ``timestamp``."""


def warn_of_data(config, dataset, parts: list) -> None:
    """Log what a reader of the metrics should know.

    Args:
        config: the settings of the run.
        dataset: what :func:`.create_dataset` returned.
        parts: the training, validation and test part, each with its ``inter_feat``.
    """
    if config["train_on"] == "all":
        return
    warn = getLogger().warning
    if getattr(dataset, "reordered_users", 0):
        warn(
            "%s another last item than their exact times give: RecBole rounds times to float32, and rows with the same rounded "
            "time keep the order of the file. Published results include this effect; exact_time_order=True sorts exactly",
            count(dataset.reordered_users, "user has", "users have"),
        )
    _warn_of_validation(config, len(parts[1]))
    samples = [part.inter_feat for part in (parts[0], parts[2])]
    if all(isinstance(each, WindowedInteraction) for each in samples):
        _warn_of_times(config, dataset, *samples)


def _warn_of_validation(config, validated: int) -> None:
    """Warn where training or its end is not validated.

    Args:
        config: the settings of the run.
        validated: samples of the validation part.
    """
    warn = getLogger().warning
    epochs = config["epochs"]
    if not validated:
        warn("there is no validation part: training lasts all %s, and the last one is tested", count(epochs, "epoch"))
        return
    # RecBole lowers an eval_step above epochs
    step = min(config["eval_step"], epochs)
    if step > 0 and epochs % step:
        warn(
            "eval_step %d does not divide epochs %d: training ends with %s that no validation follows, and that can never be "
            "the best",
            step,
            epochs,
            count(epochs % step, "epoch"),
        )


def holds_positions(config) -> bool:
    """Return whether the times of a dataset are positions in the history, with the times in another column."""
    if config["TIME_FIELD"] != "timestamp" or config["benchmark_filename"]:
        return False
    by_time = read_order(Path(config["data_path"]), config["dataset"]) == "time"
    return by_time and RAW_TIME in read_inter_header(config)


def _warn_of_times(config, dataset, train: WindowedInteraction, test: WindowedInteraction) -> None:
    """Warn where a split lets a model learn from interactions that are later than the targets it is tested on."""
    warn = getLogger().warning
    # of a large dataset every so many rows are enough for a share
    step = max(1, len(train) // MAX_TIMES)
    chosen = ((train, slice(None, None, step)), (test, slice(None)))
    targets = [(part, part.samples.read(index)[0]) for part, index in chosen]
    times = [part.flat[config["TIME_FIELD"]][rows].numpy() for part, rows in targets]
    has_positions = holds_positions(config)
    if has_positions and len(train) > MAX_TIMES:
        # the times are in the file only, which is not read again for a warning
        times = None
    elif has_positions:
        users = [part.flat[dataset.uid_field][rows].numpy() for part, rows in targets]
        times = _read_times(config, dataset, users, positions=times)
    share = 0.0 if times is None else measure_future(*times)
    fields = f"{config['USER_ID_FIELD']}, {config['ITEM_ID_FIELD']}, {RAW_TIME}"
    use_times = (
        f"timestamp holds positions (dataset_prep --order time); set TIME_FIELD: {RAW_TIME}, load_col: {{inter: [{fields}]}} and "
        "exact_time_order: True"
    )
    if share:
        split = "leave-one-out" if "LS" in config["eval_args"]["split"] else "this split"
        why = (
            f"{split} lets the model learn from the future, in published figures too; docs/protocols.md says how to split by "
            "global time"
        )
        if has_positions and config["eval_args"]["group_by"] != "user":
            why = f"this is no split by global time, because {use_times}"
        warn("on average %.0f%% of the training interactions are later than a test target: %s", 100 * share, why)
    if has_positions and config["time_gaps"]:
        warn("time_gaps reads no times, because %s", use_times)


def _read_times(config, dataset, users: list[np.ndarray], positions: list[np.ndarray]) -> list[np.ndarray]:
    """Read the times of interactions from :data:`RAW_TIME`.

    Args:
        config: the settings of the run.
        dataset: the dataset.
        users: the internal ids of their users, ``[n]`` in each entry.
        positions: their positions in the histories, ``[n]`` in each entry.

    Returns:
        The times, in each entry without those that the file does not give.
    """
    user, position = dataset.uid_field, config["TIME_FIELD"]
    kinds = {name: kind for name, kind in read_inter_header(config).items() if name in (user, position, RAW_TIME)}
    frame = read_atomic_file(atomic_file(config, "inter"), config["field_separator"], config["encoding"], kinds)
    column = frame[user].cat
    number_of = pd.Index(dataset.field2id_token[user]).get_indexer(column.categories)
    # a row without a user has the code -1
    frame[user] = np.where(column.codes < 0, -1, number_of[column.codes])
    frame = frame.drop_duplicates([user, position])
    wanted = [pd.DataFrame({user: ids, position: places}) for ids, places in zip(users, positions, strict=True)]
    return [each.merge(frame, "left", [user, position])[RAW_TIME].dropna().to_numpy() for each in wanted]
