"""The record of a prepared dataset, and when there is nothing to do."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.dataset_prep import layouts

NOTHING = "nothing to do"


@pytest.fixture
def raw(tmp_path):
    return layouts.write_lfm(tmp_path / "raw", layouts.walks(6, 6))


def test_the_record_names_inputs_options_and_counts(raw, prepare):
    prepare("lfm-1b", raw, "--last", 3)
    record = json.loads(Path("out/lfm-1b/lfm-1b.prep.json").read_text())
    events = raw / "LFM-1b_LEs.txt"
    digest = hashlib.sha256(events.read_bytes()).hexdigest()
    assert {"file": events.name, "bytes": events.stat().st_size, "sha256": digest} in record["inputs"]
    assert record["options"]["last"] == 3
    assert record["options"]["level"] == "artists"
    expected = {
        "users": 6,
        "items": 6,
        "interactions": 18,
        "interactions read": 36,
        "items listed": 6,
        "users listed": 6,
    }
    assert record["counts"] == expected
    assert set(record["files"]) == {"lfm-1b.inter", "lfm-1b.item", "lfm-1b.user"}


def test_with_the_same_inputs_and_options_there_is_nothing_to_do(raw, prepare):
    first = prepare("lfm-1b", raw)[1]
    before = Path("out/lfm-1b/lfm-1b.inter").stat()
    again = prepare("lfm-1b", raw)[1]
    assert again.startswith(first)
    assert NOTHING in again
    assert Path("out/lfm-1b/lfm-1b.inter").stat().st_ino == before.st_ino
    assert NOTHING not in prepare("lfm-1b", raw, "--force")[1]
    # a preparation that was killed after its files were complete
    left = Path("out/lfm-1b/.unfinished")
    left.mkdir()
    (left / "half").write_text("x")
    assert NOTHING in prepare("lfm-1b", raw)[1]
    assert not left.exists()


@pytest.mark.parametrize(
    "options", [["--last", 3], ["--level", "tracks"], ["--order", "time"], ["--seed", 1], ["--strict"]]
)
def test_other_options_are_prepared_again(raw, prepare, options):
    prepare("lfm-1b", raw)
    assert NOTHING not in prepare("lfm-1b", raw, *options)[1]


def test_other_inputs_and_damaged_outputs_are_prepared_again(raw, prepare):
    prepare("lfm-1b", raw)
    with open("out/lfm-1b/lfm-1b.inter", "a") as file:
        file.write("x\n")
    assert NOTHING not in prepare("lfm-1b", raw)[1]
    inter = Path("out/lfm-1b/lfm-1b.inter")
    prepared = inter.read_bytes()
    inter.write_bytes(prepared[:-2] + b"7\n")
    assert NOTHING not in prepare("lfm-1b", raw)[1]
    assert inter.read_bytes() == prepared
    with open(raw / "LFM-1b_LEs.txt", "a") as file:
        file.write("1\t2\t3\t4\t1400000000\n")
    assert NOTHING not in prepare("lfm-1b", raw)[1]
    for text in ("{", "[]", "{}", '{"version": 1, "inputs": 1, "options": 1, "counts": 1, "files": 1}'):
        Path("out/lfm-1b/lfm-1b.prep.json").write_text(text)
        assert NOTHING not in prepare("lfm-1b", raw)[1]


def test_an_item_file_of_an_earlier_preparation_is_deleted_when_there_is_no_new_one(raw, prepare):
    prepare("lfm-1b", raw)
    Path("out/lfm-1b/lfm-1b.link").touch()  # not ours
    prepare("lfm-1b", raw / "LFM-1b_LEs.txt")
    assert {file.name for file in Path("out/lfm-1b").iterdir()} == {"lfm-1b.inter", "lfm-1b.link", "lfm-1b.prep.json"}


def test_totals_other_than_the_published_ones_are_reported_with_both_numbers_or_refused(raw, prepare):
    code, _, err = prepare("lfm-1b", raw)
    assert code == 0
    assert "WARNING: lfm-1b has other totals than the complete dataset" in err
    assert "36 interactions, published 1,088,161,692" in err
    code, _, err = prepare("lfm-1b", raw, "--strict", "--name", "strict")
    assert code == 1
    assert "6 users, published 120,322" in err
    assert not Path("out/strict/strict.inter").exists()


def test_the_published_totals_cause_no_warning(tmp_path, prepare, monkeypatch):
    from dataset_prep import movielens

    totals = {"users": 6, "items": 6, "items listed": 6, "interactions": 36}
    monkeypatch.setitem(movielens.TOTALS, "ml-20m", totals)
    raw = layouts.write_movielens_csv(tmp_path / "ml-20m.zip", layouts.walks(6, 6))
    summary = "ml-20m: 6 users, 6 items, 36 interactions, in out/ml-20m/ml-20m.inter\n"
    assert prepare("ml-20m", raw, "--strict") == (0, summary, "")
    monkeypatch.setitem(movielens.TOTALS, "ml-20m", {**totals, "items listed": 7})
    assert "6 items listed, published 7" in prepare("ml-20m", raw, "--strict", "--force")[2]


def test_a_memory_limit_that_is_too_small_or_no_size_is_named(raw, prepare):
    code, _, err = prepare("lfm-1b", raw, "--memory-limit", "1KB")
    assert code == 1
    assert "--memory-limit 1KB is too small" in err
    code, _, err = prepare("lfm-1b", raw, "--memory-limit", "plenty")
    assert code == 1
    assert err.startswith("error: --memory-limit 'plenty' is not a size: ")
