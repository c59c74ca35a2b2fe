import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_prep.__main__ import main as prepare
from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.data.run_warnings import warn_of_data
from recbole_echomamba.data.samples import (
    find_run_starts,
    find_samples,
    join_samples,
    measure_future,
    split_leave_one_out,
)

GLOBAL_SPLIT = {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "none", "order": "TO", "mode": "full"}


def test_the_future_is_the_share_of_training_later_than_a_test_target():
    assert measure_future(np.array([4.0, 1, 2, 3]), np.array([2.0, 3.0])) == pytest.approx((0.5 + 0.25) / 2)
    assert measure_future(np.array([1.0, 2]), np.array([2.0, 9])) == 0
    assert measure_future(np.array([]), np.array([1.0])) == 0


def test_leave_one_out_says_that_the_future_is_in_training_and_a_global_split_does_not(tmp_path, settings, caplog):
    (tmp_path / "shifted").mkdir()
    rows = [f"u{user}\ti{(user + step) % 6}\t{100 * user + step}" for user in range(8) for step in range(9)]
    text = "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows])
    (tmp_path / "shifted" / "shifted.inter").write_text(text + "\n")
    settings = {**settings, "data_path": str(tmp_path), "topk": [5], "valid_metric": "NDCG@5"}
    for changed, expected in (({}, True), ({"eval_args": GLOBAL_SPLIT}, False)):
        config = Config("Mamba4Rec", "shifted", config_dict={**settings, **changed})
        caplog.clear()
        dataset = create_dataset(config)
        warn_of_data(config, dataset, [loader.dataset for loader in data_preparation(config, dataset)])
        assert ("of the training interactions are later than a test target" in caplog.text) == expected


def test_a_global_split_trains_on_nothing_later_than_its_test_targets(tmp_path, settings):
    config = Config("Mamba4Rec", "cycle", config_dict={**settings, "eval_args": GLOBAL_SPLIT})
    train, valid, test = (loader.dataset.inter_feat for loader in data_preparation(config, create_dataset(config)))
    times = [part.flat["timestamp"][part.targets.long()] for part in (train, valid, test)]
    assert times[0].max() <= times[1].min()
    assert times[1].max() <= times[2].min()


USER = np.repeat([1, 2, 3, 4], [5, 1, 4, 2])
TIME = np.concatenate([np.arange(5), [0], np.arange(4) - 9.0, [7, 8]])


def pairs(samples):
    return list(zip(*(column.tolist() for column in samples.read(slice(None))), strict=True))


def test_samples_follow_from_the_rows_of_each_user():
    samples = find_samples(USER, 3)
    assert pairs(samples) == [(1, 1), (2, 2), (3, 3), (4, 3), (7, 1), (8, 2), (9, 3), (11, 1)]
    train, valid, test = split_leave_one_out(samples, TIME, 2)
    # users are in the order of their first target's time; the last has one sample, which is trained on
    assert [pairs(part) for part in (train, valid, test)] == [
        [(7, 1), (1, 1), (2, 2), (11, 1)],
        [(8, 2), (3, 3)],
        [(9, 3), (4, 3)],
    ]
    assert pairs(join_samples([train, valid])) == pairs(train) + pairs(valid)
    assert pairs(join_samples([train.select(slice(None)), valid])) == pairs(train) + pairs(valid)


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(1, 6, 2),
        slice(-3, None),
        slice(5, 2),
        torch.tensor([3, 0, -1, 3]),
        torch.zeros(0, dtype=torch.long),
        torch.arange(8) % 3 == 0,
    ],
    ids=str,
)
def test_implied_samples_are_indexed_like_listed_ones(index):
    implied = find_samples(USER, 3)
    listed = implied.select(slice(None))
    assert len(implied) == len(listed)
    for theirs, ours, selected in zip(
        listed.read(index), implied.read(index), implied.select(index).read(slice(None)), strict=True
    ):
        assert theirs.dtype == ours.dtype
        assert torch.equal(theirs, ours)
        assert torch.equal(theirs, selected)


def test_an_index_outside_the_samples_is_refused():
    samples = find_samples(USER, 3)
    for index in (torch.tensor([8]), torch.tensor([-9]), torch.ones(7, dtype=torch.bool)):
        with pytest.raises(IndexError):
            samples.read(index)
    assert len(find_samples(USER[:0], 3)) == len(find_samples(USER[5:6], 3)) == 0


def test_runs_are_found_across_blocks(monkeypatch):
    whole = find_run_starts(USER)
    for block in (1, 2, 5):
        monkeypatch.setattr("recbole_echomamba.data.samples.BLOCK", block)
        assert find_run_starts(USER).tolist() == whole.tolist() == [0, 5, 6, 10]


def find_share(caplog):
    (text,) = [text for text in caplog.messages if "later than a test target" in text]
    return int(re.match(r"on average (\d+)%", text)[1]), text


@pytest.fixture
def ordered(tmp_path):
    """Prepare the same log with its times and, as ``--order time`` does, with positions; users overlap in part."""
    rows = [f"u{user},i{(user + step) % 6},{20 * user + 7 * step}" for user in range(8) for step in range(9)]
    (tmp_path / "log.csv").write_text("\n".join(["who,what,when", *rows]) + "\n")
    columns = ["--user-col=who", "--item-col=what", "--time-col=when"]
    for order in ("raw", "time"):
        options = [f"--raw={tmp_path / 'log.csv'}", f"--name={order}", f"--order={order}", f"--out={tmp_path / 'data'}"]
        assert prepare(["table", *options, *columns]) == 0
    return {"data_path": str(tmp_path / "data"), "topk": [5], "valid_metric": "NDCG@5"}


def test_the_future_is_measured_by_times_where_the_order_is_given_by_positions(settings, ordered, caplog):
    shares = []
    for dataset in ("raw", "time"):
        config = Config("Mamba4Rec", dataset, config_dict={**settings, **ordered})
        data = create_dataset(config)
        caplog.clear()
        warn_of_data(config, data, [loader.dataset for loader in data_preparation(config, data)])
        shares.append(find_share(caplog)[0])
    assert shares[0] == shares[1] > 10


def test_positions_are_no_global_times_and_no_gaps_and_the_settings_that_give_times_are_named(
    settings, ordered, caplog
):
    caplog.set_level(logging.WARNING)
    split = {**settings, **ordered, "eval_args": GLOBAL_SPLIT, "time_gaps": True}
    config = Config("Mamba4Rec", "time", config_dict=split)
    data = create_dataset(config)
    warn_of_data(config, data, [loader.dataset for loader in data_preparation(config, data)])
    share, text = find_share(caplog)
    assert share > 10
    assert "this is no split by global time" in text
    assert any(text.startswith("time_gaps reads no times") for text in caplog.messages)
    named = {
        "TIME_FIELD": "raw_timestamp",
        "load_col": {"inter": ["user_id", "item_id", "raw_timestamp"]},
        "exact_time_order": True,
    }
    for key in named:
        assert f"{key}: " in text
    config = Config("Mamba4Rec", "time", config_dict={**split, **named})
    data = create_dataset(config)
    caplog.clear()
    warn_of_data(config, data, [loader.dataset for loader in data_preparation(config, data)])
    assert not caplog.messages


def test_a_column_of_that_name_in_an_own_log_does_not_make_its_times_positions(settings, ordered, caplog):
    (Path(ordered["data_path"]) / "time" / "time.prep.json").unlink()
    caplog.set_level(logging.WARNING)
    config = Config("Mamba4Rec", "time", config_dict={**settings, **ordered, "time_gaps": True})
    data = create_dataset(config)
    warn_of_data(config, data, [loader.dataset for loader in data_preparation(config, data)])
    assert "positions" not in caplog.text


def test_times_that_only_the_file_holds_are_not_read_again_for_a_large_dataset(settings, ordered, caplog, monkeypatch):
    monkeypatch.setattr("recbole_echomamba.data.run_warnings.MAX_TIMES", 5)
    monkeypatch.setattr("recbole_echomamba.data.run_warnings.read_atomic_file", None)
    config = Config("Mamba4Rec", "time", config_dict={**settings, **ordered})
    data = create_dataset(config)
    warn_of_data(config, data, [loader.dataset for loader in data_preparation(config, data)])
    assert "later than a test target" not in caplog.text
