"""Filters, duplicates and order, each against a few lines of plain Python."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_prep import event_log
from dataset_prep.errors import PreparationError
from dataset_prep.event_log import EventLog, open_event_log
from tests.dataset_prep import layouts

EVENT = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 5))
LOGS = st.lists(EVENT, min_size=1, max_size=40)
COLUMNS = {"user_id": "token", "item_id": "token", "timestamp": "float"}
AT_ONCE = st.sampled_from([1, 7, 10_000_000])
"""Rows that a statement changes: few, so that a log is changed in several, or all."""
few = settings(max_examples=15, deadline=None)


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """``after(rows, change)``: header and rows of the ``.inter`` file once ``change(log)`` was applied to the rows.

    Opening DuckDB takes longer than such a test, so all share one database; loading replaces its table.
    """
    folder = tmp_path_factory.mktemp("log")

    def apply(rows, change, order="raw", batches=1, at_once=None):
        if at_once:
            patch.setattr(event_log, "ROWS_AT_ONCE", at_once)
        log = EventLog(shared.connection, COLUMNS)
        table = pa.table(list(zip(*rows, strict=True)), names=list(COLUMNS))
        size = -(-len(rows) // batches)
        log.load(table.slice(start, size) for start in range(0, len(rows), size))
        change(log)
        log.write(folder / "out.inter", order)
        header, *lines = (folder / "out.inter").read_text().splitlines()
        return header, [tuple(map(int, line.split("\t"))) for line in lines]

    with open_event_log(folder, COLUMNS, "200MB") as shared, pytest.MonkeyPatch.context() as patch:
        yield apply


def earliest_first(events, key):
    """The positions of each group's events, by time, then raw order."""
    groups = {}
    for position, row in sorted(enumerate(events), key=lambda numbered: numbered[1][2]):
        groups.setdefault(key(row), []).append(position)
    return groups.values()


@few
@given(LOGS, st.integers(1, 5))
def test_raw_order_and_every_row_are_kept(after, events, batches):
    assert after(events, lambda log: None, batches=batches) == ("user_id:token\titem_id:token\ttimestamp:float", events)


@few
@given(LOGS, AT_ONCE)
def test_deduplication_keeps_the_first_or_last_in_time_at_its_position(after, events, at_once):
    groups = earliest_first(events, lambda row: row[:2])
    first = [events[k] for k in sorted(group[0] for group in groups)]
    last = [events[k] for k in sorted(group[-1] for group in groups)]
    assert after(events, lambda log: log.deduplicate("keep-first"), at_once=at_once)[1] == first
    assert after(events, lambda log: log.deduplicate("keep-last"), at_once=at_once)[1] == last


@few
@given(LOGS, AT_ONCE)
def test_counting_duplicates_conserves_interactions(after, events, at_once):
    header, rows = after(events, lambda log: log.deduplicate("count"), at_once=at_once)
    assert header.endswith("\tinteractions:float")
    repeats = Counter(row[:2] for row in events)
    assert {row[:2]: row[3] for row in rows} == repeats
    assert [row[:3] for row in rows] == after(events, lambda log: log.deduplicate("keep-first"))[1]


@few
@given(LOGS, st.integers(1, 4), AT_ONCE)
def test_the_last_events_of_each_user_are_kept(after, events, n, at_once):
    kept = sorted(k for group in earliest_first(events, lambda row: row[0]) for k in group[-n:])
    assert after(events, lambda log: log.keep_last(n), at_once=at_once)[1] == [events[k] for k in kept]


@few
@given(LOGS, st.integers(1, 4), st.integers(1, 4))
def test_the_core_is_the_largest_part_that_meets_both_bounds(after, events, min_user, min_item):
    rows, size = events, None
    while len(rows) != size:
        size = len(rows)
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        rows = [row for row in rows if users[row[0]] >= min_user and items[row[1]] >= min_item]
    assert after(events, lambda log: log.keep_core(min_user, min_item))[1] == rows


@few
@given(LOGS, st.integers(1, 6), st.integers(-5, 5))
def test_sampled_users_keep_complete_histories_and_a_seed_draws_the_same_ones_in_any_order(after, events, n, seed):
    rows = after(events, lambda log: log.sample_users(n, seed))[1]
    users = {row[0] for row in rows}
    assert len(users) == min(n, len({row[0] for row in events}))
    assert rows == [row for row in events if row[0] in users]
    assert {row[0] for row in after(events[::-1], lambda log: log.sample_users(n, seed))[1]} == users


def test_seeds_draw_different_users(after):
    events = [(user, 1, 1) for user in range(100)]
    drawn = {tuple(after(events, lambda log, seed=seed: log.sample_users(5, seed))[1]) for seed in range(5)}
    assert len(drawn) == 5


@few
@given(LOGS)
def test_time_order_is_exact_and_its_positions_count_up_in_each_history(after, events):
    header, rows = after(events, lambda log: None, order="time")
    assert header == "user_id:token\titem_id:token\ttimestamp:float\traw_timestamp:float"
    assert [(user, item, time) for user, item, _, time in rows] == sorted(events, key=lambda row: row[2])
    for user in {row[0] for row in rows}:
        positions = [row[2] for row in rows if row[0] == user]
        assert positions == list(range(1, len(positions) + 1))


def test_a_history_too_long_for_exact_positions_is_refused(after, monkeypatch):
    monkeypatch.setattr("dataset_prep.event_log.LARGEST_EXACT_FLOAT32", 3)
    with pytest.raises(PreparationError, match="a user has more than 3 events: use --last"):
        after([(1, 1, 1)] * 3, lambda log: None, order="time")


def test_times_a_second_apart_are_ordered_by_recbole_only_in_time_order(tmp_path, prepare):
    from recbole_echomamba import Config, create_dataset

    rows = [(user, item + 1, 1, 1_700_000_000 - item) for user in range(1, 9) for item in range(8)]
    raw = layouts.write_lfm(tmp_path / "raw", rows)
    found = {}
    for order in ("raw", "time"):
        prepare("lfm-1b", raw, "--order", order)
        dataset = create_dataset(Config("SASRec", "lfm-1b", config_dict={"data_path": "out", "show_progress": False}))
        # The test part holds each user's last item with the items before it.
        last = dataset.build()[2].inter_feat
        history = [*last["item_id_list"][0][:7].tolist(), int(last["item_id"][0])]
        found[order] = [int(item) for item in dataset.id2token("item_id", history)]
    assert found == {"raw": [1, 2, 3, 4, 5, 6, 7, 8], "time": [8, 7, 6, 5, 4, 3, 2, 1]}


def test_duplicates_are_removed_before_users_are_drawn_and_the_core_is_taken_before_histories_are_cut(
    tmp_path, prepare, read
):
    rows = [(1, 1, 1, 10), (1, 1, 1, 20), (1, 2, 1, 30), (2, 1, 1, 10), (2, 2, 1, 20), (3, 1, 1, 10), (3, 3, 1, 20)]
    raw = layouts.write_lfm(tmp_path / "raw", [(*row[:3], 1_400_000_000 + row[3]) for row in rows])
    options = ["--dedup", "keep-last", "--min-user", 2, "--min-item", 2, "--last", 1]
    assert prepare("lfm-1b", raw, *options)[1].startswith("lfm-1b: 2 users, 1 item, 2 interactions, in ")
    assert read("lfm-1b")[1] == [["1", "2", "1400000030"], ["2", "2", "1400000020"]]


def test_filters_that_leave_nothing_are_an_error_and_leave_no_file(tmp_path, prepare):
    code, _, err = prepare("lfm-1b", layouts.write_lfm(tmp_path / "raw", layouts.walks(1, 1)), "--min-user", 2)
    assert code == 1
    assert "the filters leave no interactions" in err
    assert not Path("out").exists()
