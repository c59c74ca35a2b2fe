import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from recbole_echomamba import load_run, recommend, run
from recbole_echomamba.__main__ import main
from recbole_echomamba.recommendation import Histories
from tests.conftest import HISTORY, ITEMS, SMALL, USERS

MODELS = ["EchoMamba4Rec", "SASRec", "BERT4Rec", "GRU4Rec"]


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    """``trained(model, train_on)``: a run directory of a model that has learnt to go round the circle."""
    folder, kept = tmp_path_factory.mktemp("trained"), {}

    def train(model, train_on="train"):
        if (model, train_on) not in kept:
            settings = {**SMALL, "data_path": str(data_path), "checkpoint_dir": str(folder), "learning_rate": 0.02}
            changed = {"epochs": 12 if model in ("SASRec", "BERT4Rec") else 6, "n_heads": 2, "embedding_size": 16}
            made = run(model, "cycle", config_dict={**settings, **changed, "train_on": train_on})
            kept[model, train_on] = made["run_directory"]
        return kept[model, train_on]

    return train


@pytest.fixture
def mamba(trained):
    return trained("EchoMamba4Rec")


def walk(user, steps=HISTORY):
    """A user's items, oldest first: known from how the data set is made."""
    return [f"i{(user + step) % ITEMS}" for step in range(steps)]


@pytest.mark.parametrize("train_on", ["train", "all"])
def test_what_follows_the_newest_item_is_recommended_first(trained, train_on):
    top = recommend(trained("EchoMamba4Rec", train_on=train_on), topk=1).set_index("user_id")["item_id"]
    assert len(top) == USERS
    following = [top[f"u{user}"] == f"i{(user + HISTORY) % ITEMS}" for user in range(USERS)]
    assert sum(following) == USERS  # without the newest item, the newest item itself would come first


def test_a_history_holds_every_item_in_order_and_the_window_the_last_ones(mamba):
    _, _, dataset, *_ = load_run(mamba)
    histories = Histories(dataset)
    for names, window, (rows, items) in histories.batches(histories.users, 7):
        lists = dataset.id2token("item_id", window["item_id_list"].numpy())
        assert set(window["item_length"].tolist()) == {8}
        for row, name in enumerate(names):
            assert lists[row].tolist() == walk(int(name[1:]))[-8:]
            assert window["timestamp_list"][row].tolist() == list(range(HISTORY - 7, HISTORY + 1))
            assert dataset.id2token("item_id", items[rows == row].numpy()).tolist() == walk(int(name[1:]))


@pytest.mark.parametrize("length", [3, 5, 8])
def test_a_history_shorter_than_the_window_is_padded_on_the_right(mamba, length):
    _, _, dataset, *_ = load_run(mamba)
    window, _ = Histories(dataset).unseen([dataset.field2token_id["item_id"][item] for item in walk(4, length)])
    assert window["item_length"].tolist() == [length]
    row = dataset.id2token("item_id", window["item_id_list"][0].numpy()).tolist()
    assert row == walk(4, length) + ["[PAD]"] * (8 - length)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_history_gives_the_same_items_whoever_it_belongs_to(trained, model):
    known = recommend(trained(model), users=["u5"], topk=4)
    person = recommend(trained(model), history=walk(5), topk=4)
    assert person["item_id"].tolist() == known["item_id"].tolist()
    assert person["score"].tolist() == pytest.approx(known["score"].tolist(), rel=1e-4)
    assert set(person["user_id"]) == {"history"}


def test_every_item_but_the_padding_can_appear_and_ranks_follow_scores(mamba):
    table = recommend(mamba, users=["u1", "u2"], topk=100)
    assert table.groupby("user_id").size().tolist() == [ITEMS, ITEMS]
    assert set(table["item_id"]) == {f"i{n}" for n in range(ITEMS)}
    for _, rows in table.groupby("user_id"):
        assert rows["rank"].tolist() == list(range(1, ITEMS + 1))
        assert rows["score"].is_monotonic_decreasing


def test_seen_items_are_left_out_the_oldest_too(mamba):
    table = recommend(mamba, topk=5, exclude_seen=True)
    for user, rows in table.groupby("user_id"):
        assert set(rows["item_id"]) == {f"i{n}" for n in range(ITEMS)} - set(walk(int(user[1:])))


def test_only_candidates_are_recommended(mamba):
    table = recommend(mamba, topk=5, items=["i3", "i7"])
    assert set(table["item_id"]) == {"i3", "i7"}
    assert len(table) == 2 * USERS


@pytest.mark.parametrize("asked", ["users", "items", "history"])
def test_unknown_ids_are_named_or_skipped_and_listed(mamba, asked, caplog):
    known = ["u1"] if asked == "users" else ["i1"]
    with pytest.raises(ValueError, match=r"nobody, nothing.*--skip-unknown"):
        recommend(mamba, **{asked: [*known, "nobody", "nothing"]})
    table = recommend(mamba, **{asked: [*known, "nobody"]}, skip_unknown=True)
    assert len(table)
    assert "nobody" in caplog.text


def test_the_padding_token_is_no_item(mamba):
    with pytest.raises(ValueError, match=r"\[PAD\]"):
        recommend(mamba, history=["i1", "[PAD]"])


NOTHING = [{"users": []}, {"history": []}, {"items": []}, {"topk": 0}, {"users": "u1"}, {"items": "i1"}]
NOTHING += [{"history": [f"i{n}" for n in range(ITEMS)], "exclude_seen": True}]


@pytest.mark.parametrize("asked", NOTHING)
def test_nothing_to_do_is_an_error(mamba, asked):
    with pytest.raises(ValueError, match=r"no user|no known item|at least 1|list of ids|no item left"):
        recommend(mamba, **asked)


def read(file):
    if file.suffix == ".parquet":
        return pd.read_parquet(file).to_dict("records")
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    with open(file, newline="") as lines:
        return [{**row, "rank": int(row["rank"])} for row in csv.DictReader(lines)]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_door_writes_each_format_for_the_users_of_a_file(mamba, tmp_path, capsys, ending):
    (tmp_path / "users").write_text("u7\nu3\n\n", encoding="utf-8-sig")  # as Notepad and Excel write it
    out = tmp_path / f"top.{ending}"
    assert main(["recommend", f"--run={mamba}", f"--users={tmp_path / 'users'}", "--topk=2", f"--out={out}"]) == 0
    rows = read(out)
    assert [(row["user_id"], row["rank"]) for row in rows] == [("u7", 1), ("u7", 2), ("u3", 1), ("u3", 2)]
    assert rows[0]["item_id"] == f"i{(7 + HISTORY) % ITEMS}"
    assert "4 recommendations to 2 users" in capsys.readouterr().out


def test_titles_come_from_the_item_file_as_they_are_written_there(mamba, data_path, tmp_path):
    shutil.copytree(data_path / "cycle", tmp_path / "cycle")
    titles = {f"i{n}": f'"Title, {n}' for n in range(ITEMS)}  # a quote that is never closed
    lines = ["item_id:token\tmovie_title:token_seq", *("\t".join(pair) for pair in titles.items())]
    (tmp_path / "cycle" / "cycle.item").write_text("\n".join(lines) + "\n")
    table = recommend(mamba, users=["u1"], titles=True, config_dict={"data_path": str(tmp_path)})
    assert table["title"].tolist() == [titles[item] for item in table["item_id"]]
    with pytest.raises(FileNotFoundError, match=r"no titles.*cycle\.item"):
        recommend(mamba, users=["u1"], titles=True)


BAD = {
    "format": (["--all", "--out=top.txt"], "top.txt"),
    "folder": (["--all", "--out=gone/top.csv"], "gone"),
    "users": (["--users=gone", "--out=top.csv"], "no file gone"),
    "an unset variable": (["--users=", "--out=top.csv"], "cannot be read"),
    "users that are a folder": (["--users=/", "--out=top.csv"], "/ cannot be read"),
    "out that is a folder": (["--all", "--out=folder.csv"], "is a folder"),
    "another model": (["--all", "--out=top.csv", "--hidden_size=8"], "hidden_size cannot change"),
    "unknown": (["--history=i1 i99", "--out=top.csv"], "i99"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(mamba, capsys, case):
    arguments, word = BAD[case]
    Path("folder.csv").mkdir(exist_ok=True)
    assert main(["recommend", f"--run={mamba}", *arguments]) == 1
    message = capsys.readouterr().err
    assert word in message.splitlines()[-1]
    assert message.splitlines()[-1].startswith("error: ")
    assert not Path("top.csv").exists()
