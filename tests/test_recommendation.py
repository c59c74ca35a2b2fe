"""Recommendations follow from complete histories, in the dataset's own ids."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataset_prep.atomic_file import write_rows
from recbole_echomamba import load_run, recommend, run
from recbole_echomamba.cli import main
from recbole_echomamba.data.histories import Histories, pad_histories
from recbole_echomamba.system.errors import MissingFileError, UserError
from tests.conftest import HISTORY, ITEMS, ROWS, SMALL, USERS, write_inter

MODELS = ["EchoMamba4Rec", "SASRec", "BERT4Rec", "GRU4Rec"]


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    """``trained(model, train_on)``: the run directory of a model that has learnt the order of the cycle, trained once."""
    folder = tmp_path_factory.mktemp("trained")
    directories = {}

    def train(model, train_on="train"):
        if (model, train_on) not in directories:
            settings = {
                **SMALL,
                "data_path": str(data_path),
                "checkpoint_dir": str(folder),
                "learning_rate": 0.02,
                "epochs": 12 if model in ("SASRec", "BERT4Rec") else 6,
                "n_heads": 2,
                "embedding_size": 16,
                "train_on": train_on,
            }
            directories[model, train_on] = run(model, "cycle", config_dict=settings)["run_directory"]
        return directories[model, train_on]

    return train


@pytest.fixture
def mamba(trained):
    return trained("EchoMamba4Rec")


def walk(user, steps=HISTORY):
    """Return a user's items, oldest first, by how the dataset is made."""
    return [f"i{(user + step) % ITEMS}" for step in range(steps)]


@pytest.mark.parametrize("train_on", ["train", "all"])
def test_what_follows_the_newest_item_is_recommended_first(trained, train_on):
    top = recommend(trained("EchoMamba4Rec", train_on=train_on), topk=1).set_index("user_id")["item_id"]
    assert len(top) == USERS
    # If the model did not read the newest item, it would recommend that item itself.
    assert top.to_dict() == {f"u{user}": f"i{(user + HISTORY) % ITEMS}" for user in range(USERS)}


def test_a_history_holds_every_item_in_order_and_the_window_the_last_ones(mamba):
    _, _, dataset, *_ = load_run(mamba)
    histories = Histories(dataset)
    served = []
    for batch in histories.iterate_batches(histories.users, 7):
        lists = dataset.id2token("item_id", batch.window["item_id_list"].numpy())
        assert set(batch.window["item_length"].tolist()) == {8}
        for row, user_id in enumerate(batch.user_ids):
            complete = walk(int(user_id[1:]))
            seen = batch.seen_items[batch.seen_rows == row]
            assert lists[row].tolist() == complete[-8:]
            assert batch.window["timestamp_list"][row].tolist() == list(range(HISTORY - 7, HISTORY + 1))
            assert dataset.id2token("item_id", seen.numpy()).tolist() == complete
        served += batch.user_ids
    assert sorted(served) == sorted(f"u{user}" for user in range(USERS))


@pytest.mark.parametrize("length", [3, 5, 8])
def test_a_history_shorter_than_the_window_is_padded_on_the_right(mamba, length):
    _, _, dataset, *_ = load_run(mamba)
    items = np.array([dataset.field2token_id["item_id"][item] for item in walk(4, length)])
    window = pad_histories(dataset, [items], ["history"]).window
    assert window["item_length"].tolist() == [length]
    padded = dataset.id2token("item_id", window["item_id_list"][0].numpy()).tolist()
    assert padded == walk(4, length) + ["[PAD]"] * (8 - length)


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
def test_unknown_ids_are_an_error_or_left_out_with_a_warning(mamba, asked, caplog):
    known = ["u1"] if asked == "users" else ["i1"]
    kind = "users" if asked == "users" else "items"
    with pytest.raises(UserError, match=rf"unknown {kind} nobody, nothing: .*--skip-unknown leaves them out"):
        recommend(mamba, **{asked: [*known, "nobody", "nothing"]})
    skipped = recommend(mamba, **{asked: [*known, "nobody"]}, skip_unknown=True)
    assert f"left out unknown {kind} nobody" in caplog.text
    pd.testing.assert_frame_equal(skipped, recommend(mamba, **{asked: known}))


def test_a_long_list_of_unknown_ids_is_cut(mamba):
    with pytest.raises(
        UserError, match=r"unknown users x0, .*, x9 and 3 more: dataset cycle has no known item of them"
    ):
        recommend(mamba, users=[f"x{number}" for number in range(13)])


@pytest.fixture
def more_users(data_path, tmp_path):
    """Settings for the data of the cycle with three more users: two interactions, one, and one with an unknown item."""
    rows = [*ROWS, ("two", "i3", "1"), ("two", "i4", "2"), ("one", "i7", "1"), ("strange", "new item", "1")]
    (tmp_path / "more" / "cycle").mkdir(parents=True)
    write_inter(tmp_path / "more" / "cycle" / "cycle.inter", rows)
    return {"data_path": str(tmp_path / "more")}


def test_users_whom_the_filters_remove_are_counted_with_the_setting_that_lets_them_in(mamba, more_users, caplog):
    table = recommend(mamba, topk=1, config_dict=more_users)
    assert table["user_id"].nunique() == USERS
    assert f"3 of {USERS + 3} users of dataset cycle are left out: 3 have no interaction after filtering" in caplog.text
    assert "--user_inter_num_interval='[1,inf)' lets users with fewer interactions in" in caplog.text
    with pytest.raises(UserError, match=r"unknown users one: .*user_inter_num_interval=\[5,inf\).*'\[1,inf\)' lets"):
        recommend(mamba, users=["one"], config_dict=more_users)


def test_users_with_a_single_interaction_are_served_from_the_data(mamba, more_users, caplog):
    everyone = {**more_users, "user_inter_num_interval": "[1,inf)", "item_inter_num_interval": None}
    table = recommend(mamba, topk=4, config_dict=everyone)
    assert set(table["user_id"]) == {"one", "two", *(f"u{user}" for user in range(USERS))}
    assert (
        f"1 of {USERS + 3} users of dataset cycle are left out: 1 have no item that the model was trained on"
        in caplog.text
    )
    for user, history in (("one", ["i7"]), ("two", ["i3", "i4"])):
        served, person = table[table["user_id"] == user], recommend(mamba, topk=4, history=history)
        assert served["item_id"].tolist() == person["item_id"].tolist()
        assert served["score"].tolist() == pytest.approx(person["score"].tolist(), rel=1e-4)
    unseen = recommend(mamba, users=["one"], topk=ITEMS, exclude_seen=True, config_dict=everyone)
    assert set(unseen["item_id"]) == {f"i{n}" for n in range(ITEMS)} - {"i7"}


def test_the_padding_token_is_no_item(mamba):
    with pytest.raises(UserError, match=r"unknown items \[PAD\]: they are not in dataset cycle"):
        recommend(mamba, history=["i1", "[PAD]"])


IMPOSSIBLE = {
    "no users": ({"users": []}, "there is no user to recommend to"),
    "an empty history": ({"history": []}, "history of 'history' holds no known item"),
    "no items": ({"items": []}, "there is no item to recommend"),
    "topk of zero": ({"topk": 0}, "topk must be at least 1, it is 0"),
    "users as a text": ({"users": "u1"}, "users must be a list of ids, not the text 'u1'"),
    "items as a text": ({"items": "i1"}, "items must be a list of ids, not the text 'i1'"),
    "everything seen": ({"history": walk(0, ITEMS), "exclude_seen": True}, "no item is left to recommend"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_request_that_leaves_nothing_to_recommend_is_an_error(mamba, case):
    arguments, message = IMPOSSIBLE[case]
    with pytest.raises(UserError, match=message):
        recommend(mamba, **arguments)


def test_users_who_have_seen_everything_allowed_are_counted(mamba, caplog):
    table = recommend(mamba, items=["i0"], exclude_seen=True)
    unseen_by = {f"u{user}" for user in range(USERS) if "i0" not in walk(user)}
    assert set(table["user_id"]) == unseen_by
    assert f"{USERS - len(unseen_by)} users get no recommendations" in caplog.text


def read(file):
    if file.suffix == ".parquet":
        return pd.read_parquet(file).to_dict("records")
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    with open(file, newline="") as lines:
        return [{**row, "rank": int(row["rank"])} for row in csv.DictReader(lines)]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_command_writes_each_format_for_the_users_of_a_file(mamba, tmp_path, capsys, ending):
    # Notepad and Excel write a byte order mark.
    (tmp_path / "users").write_text("u7\nu3\n\n", encoding="utf-8-sig")
    out = tmp_path / f"top.{ending}"
    assert main(["recommend", f"--run={mamba}", f"--users={tmp_path / 'users'}", "--topk=2", f"--out={out}"]) == 0
    rows = read(out)
    assert [(row["user_id"], row["rank"]) for row in rows] == [("u7", 1), ("u7", 2), ("u3", 1), ("u3", 2)]
    assert rows[0]["item_id"] == f"i{(7 + HISTORY) % ITEMS}"
    assert f"wrote 4 recommendations for 2 users to {out}" in capsys.readouterr().out


def test_leaving_unknown_ids_out_is_offered_only_where_others_remain(mamba):
    with pytest.raises(UserError, match="unknown users nobody") as refused:
        recommend(mamba, users=["nobody"])
    assert "skip" not in str(refused.value)


def test_the_command_prints_a_table_where_no_file_is_named(mamba, capsys):
    assert main(["recommend", f"--run={mamba}", "--history=i1 i2", "--topk=2"]) == 0
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["user_id", "item_id", "rank", "score"]
    assert [row[-2] for row in rows] == ["1", "2"]


def test_titles_come_from_the_item_file_as_they_are_written_there(mamba, data_path, tmp_path):
    shutil.copytree(data_path / "cycle", tmp_path / "cycle")
    # Each title starts with a quote that is never closed.
    titles = {f"i{n}": f'"Title, {n}' for n in range(ITEMS)}
    lines = ["item_id:token\tmovie_title:token_seq", *("\t".join(pair) for pair in titles.items())]
    (tmp_path / "cycle" / "cycle.item").write_text("\n".join(lines) + "\n")
    table = recommend(mamba, users=["u1"], titles=True, config_dict={"data_path": str(tmp_path)})
    assert table["title"].tolist() == [titles[item] for item in table["item_id"]]
    with pytest.raises(MissingFileError, match=r"there are no titles: .*cycle\.item does not exist"):
        recommend(mamba, users=["u1"], titles=True)


def test_titles_that_dataset_prep_wrote_are_read_back_exactly(mamba, data_path, tmp_path):
    shutil.copytree(data_path / "cycle", tmp_path / "cycle")
    names = ['"Great Performances" Cats', '"Heroes"', "None", '"', 'The "x"', "NA"]
    titles = {f"i{n}": names[n % len(names)] for n in range(ITEMS)}
    write_rows(tmp_path / "cycle" / "cycle.item", ("item_id:token", "title:token_seq"), titles.items())
    table = recommend(mamba, users=["u1"], topk=ITEMS, titles=True, config_dict={"data_path": str(tmp_path)})
    assert table.set_index("item_id")["title"].to_dict() == titles


def test_an_item_file_without_titles_is_refused_with_its_columns(mamba, data_path, tmp_path):
    shutil.copytree(data_path / "cycle", tmp_path / "cycle")
    (tmp_path / "cycle" / "cycle.item").write_text("item_id:token\tprice:float\ni1\t3\n")
    with pytest.raises(UserError, match=r"cycle\.item, line 1: the columns are item_id, price; add item_id and one"):
        recommend(mamba, users=["u1"], titles=True, config_dict={"data_path": str(tmp_path)})


BAD = {
    "all users without a file": (["--all"], "--all needs --out=FILE"),
    "an unknown format": (["--all", "--out=top.txt"], "cannot tell the format of top.txt"),
    "a missing folder": (["--all", "--out=gone/top.csv"], "there is no folder"),
    "an id instead of a file": (
        ["--users=u1", "--out=top.csv"],
        "--users takes a UTF-8 text file with one id per line; u1 does not exist",
    ),
    "another spelling of a flag": (
        ["--all", "--out=top.csv", "--exclude_seen"],
        "no --exclude_seen; write --exclude-seen",
    ),
    "a value for such a flag": (
        ["--all", "--out=top.csv", "--skip_unknown=True"],
        "no --skip_unknown; write --skip-unknown",
    ),
    "an unset variable": (["--users=", "--out=top.csv"], "cannot be read"),
    "users that are a folder": (["--users=/", "--out=top.csv"], "/ cannot be read"),
    "out that is a folder": (["--all", "--out=folder.csv"], "folder.csv is a folder"),
    "a setting of the model": (["--all", "--out=top.csv", "--hidden_size=8"], "hidden_size"),
    "an unknown item": (["--history=i1 i99", "--out=top.csv"], "unknown items i99"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(mamba, capsys, case):
    arguments, words = BAD[case]
    Path("folder.csv").mkdir()
    assert main(["recommend", f"--run={mamba}", *arguments]) == 1
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith("error: ")
    assert words in last_line
    assert not Path("top.csv").exists()
