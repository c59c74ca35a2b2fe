"""Filters, repeats and order, each against a few lines of plain Python."""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_prep.pipeline import Events
from tests.dataset_prep import layouts

EVENT = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 5))
LOGS = st.lists(EVENT, min_size=1, max_size=40)
COLUMNS = {"user_id": "token", "item_id": "token", "timestamp": "float"}
few = settings(max_examples=15, deadline=None)


def after(log, change, order="raw", batches=1):
    """What the ``.inter`` file holds when ``change(events)`` was done to a log."""
    with tempfile.TemporaryDirectory() as folder:
        with Events(Path(folder), COLUMNS, "200MB") as events:
            table = pa.table(list(zip(*log, strict=True)), names=list(COLUMNS))
            size = -(-len(log) // batches)
            events.load(table.slice(start, size) for start in range(0, len(log), size))
            change(events)
            file = Path(folder) / "out.inter"
            events.write(file, order)
        header, *lines = file.read_text().splitlines()
    return header, [tuple(map(int, line.split("\t"))) for line in lines]


def earliest_first(log, key):
    """Rows of each group by time, then raw order, as positions in the log."""
    groups = {}
    for position, row in sorted(enumerate(log), key=lambda numbered: numbered[1][2]):
        groups.setdefault(key(row), []).append(position)
    return groups.values()


@few
@given(LOGS, st.integers(1, 5))
def test_raw_order_and_every_row_are_kept(log, batches):
    assert after(log, lambda events: None, batches=batches) == ("user_id:token\titem_id:token\ttimestamp:float", log)


@few
@given(LOGS)
def test_of_repeats_the_first_or_last_in_time_stays_where_it_was(log):
    groups = earliest_first(log, lambda row: row[:2])
    first = [log[k] for k in sorted(group[0] for group in groups)]
    last = [log[k] for k in sorted(group[-1] for group in groups)]
    assert after(log, lambda events: events.deduplicate("keep-first"))[1] == first
    assert after(log, lambda events: events.deduplicate("keep-last"))[1] == last


@few
@given(LOGS)
def test_counting_repeats_conserves_interactions(log):
    header, rows = after(log, lambda events: events.deduplicate("count"))
    assert header.endswith("\tinteractions:float")
    repeats = Counter(row[:2] for row in log)
    assert {row[:2]: row[3] for row in rows} == repeats
    assert [row[:3] for row in rows] == after(log, lambda events: events.deduplicate("keep-first"))[1]


@few
@given(LOGS, st.integers(1, 4))
def test_the_last_events_of_each_user_stay(log, n):
    kept = sorted(k for group in earliest_first(log, lambda row: row[0]) for k in group[-n:])
    assert after(log, lambda events: events.last(n))[1] == [log[k] for k in kept]


@few
@given(LOGS, st.integers(1, 4), st.integers(1, 4))
def test_the_core_is_the_largest_log_that_passes_both_bounds(log, min_user, min_item):
    rows, size = log, None
    while len(rows) != size:
        size = len(rows)
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        rows = [row for row in rows if users[row[0]] >= min_user and items[row[1]] >= min_item]
    assert after(log, lambda events: events.core(min_user, min_item))[1] == rows


@few
@given(LOGS, st.integers(1, 6), st.integers(-5, 5))
def test_sampled_users_keep_whole_histories_and_a_seed_draws_the_same_ones_in_any_order(log, n, seed):
    rows = after(log, lambda events: events.sample_users(n, seed))[1]
    users = {row[0] for row in rows}
    assert len(users) == min(n, len({row[0] for row in log}))
    assert rows == [row for row in log if row[0] in users]
    assert {row[0] for row in after(log[::-1], lambda events: events.sample_users(n, seed))[1]} == users


def test_seeds_draw_different_users():
    log = [(user, 1, 1) for user in range(100)]
    drawn = {tuple(after(log, lambda events, seed=seed: events.sample_users(5, seed))[1]) for seed in range(5)}
    assert len(drawn) == 5


@few
@given(LOGS)
def test_time_order_is_exact_and_its_places_count_up_in_each_history(log):
    header, rows = after(log, lambda events: None, order="time")
    assert header == "user_id:token\titem_id:token\ttimestamp:float\traw_timestamp:float"
    assert [(user, item, time) for user, item, _, time in rows] == sorted(log, key=lambda row: row[2])
    for user in {row[0] for row in rows}:
        places = [row[2] for row in rows if row[0] == user]
        assert places == list(range(1, len(places) + 1))


def test_a_history_too_long_for_exact_places_is_refused(monkeypatch):
    monkeypatch.setattr("dataset_prep.pipeline.LARGEST_EXACT_FLOAT32", 3)
    with pytest.raises(ValueError, match="use --last"):
        after([(1, 1, 1)] * 3, lambda events: None, order="time")


def test_times_a_second_apart_are_ordered_by_recbole_only_in_time_order(tmp_path, prepare):
    from recbole_echomamba import Config, create_dataset

    rows = [(user, item + 1, 1, 1_700_000_000 - item) for user in range(1, 9) for item in range(8)]
    raw = layouts.write_lfm(tmp_path / "raw", rows)
    found = {}
    for order in ("raw", "time"):
        prepare("lfm-1b", raw, "--order", order)
        dataset = create_dataset(Config("SASRec", "lfm-1b", config_dict={"data_path": "out", "show_progress": False}))
        last = dataset.build()[2].inter_feat  # of every user the last item, and those before it
        history = [*last["item_id_list"][0][:7].tolist(), int(last["item_id"][0])]
        found[order] = [int(item) for item in dataset.id2token("item_id", history)]
    assert found == {"raw": [1, 2, 3, 4, 5, 6, 7, 8], "time": [8, 7, 6, 5, 4, 3, 2, 1]}


def test_repeats_go_before_users_are_drawn_and_the_core_is_taken_before_histories_are_cut(tmp_path, prepare, read):
    rows = [(1, 1, 1, 10), (1, 1, 1, 20), (1, 2, 1, 30), (2, 1, 1, 10), (2, 2, 1, 20), (3, 1, 1, 10), (3, 3, 1, 20)]
    raw = layouts.write_lfm(tmp_path / "raw", rows)
    options = ["--dedup", "keep-last", "--min-user", 2, "--min-item", 2, "--last", 1]
    assert prepare("lfm-1b", raw, *options)[:2] == (0, "lfm-1b: 2 users, 1 items, 2 interactions\n")
    assert read("lfm-1b")[1] == [["1", "2", "30"], ["2", "2", "20"]]


def test_filters_that_leave_nothing_are_an_error_and_leave_no_file(tmp_path, prepare):
    code, _, err = prepare("lfm-1b", layouts.write_lfm(tmp_path / "raw", [(1, 1, 1, 1)]), "--min-user", 2)
    assert code == 1
    assert "the filters leave no interactions" in err
    assert list(Path("out").rglob("*.inter")) == []
