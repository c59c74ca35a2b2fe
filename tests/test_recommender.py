"""A recommender is loaded once, asked many times, and needs no data for histories."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import torch

from recbole_echomamba import Recommender, load_run, recommend, run
from recbole_echomamba.cli import main
from recbole_echomamba.ops import ranking
from recbole_echomamba.recommendation import best_items
from recbole_echomamba.recommendation.files import read_histories
from recbole_echomamba.system.errors import MissingFileError, UserError
from tests.conftest import ITEMS, SMALL

MODELS = {"EchoMamba4Rec": {}, "SASRec": {"n_heads": 2}, "BERT4Rec": {"n_heads": 2}, "GRU4Rec": {"embedding_size": 16}}


def walk(user, steps):
    """Return a user's items, oldest first, by how the dataset is made."""
    return [f"i{(user + step) % ITEMS}" for step in range(steps)]


HISTORIES = [walk(user, 1 + user % 9) for user in range(30)]


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    """``trained(model)``: the run directory of a model, trained once."""
    folder = tmp_path_factory.mktemp("trained")
    directories = {}

    def train(model):
        if model not in directories:
            settings = {**SMALL, **MODELS[model], "data_path": str(data_path), "checkpoint_dir": str(folder)}
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                directories[model] = run(model, "cycle", config_dict=settings)["run_directory"]
        return directories[model]

    return train


@pytest.fixture
def alone(trained, tmp_path):
    """``alone(model)``: a copy of the run directory, with settings that name data which are not there."""

    def copy(model="EchoMamba4Rec"):
        return shutil.copytree(trained(model), tmp_path / "elsewhere" / model)

    return copy


@pytest.mark.parametrize("model", list(MODELS))
def test_a_run_without_its_data_recommends_what_it_does_with_them(trained, alone, model):
    settings = {"data_path": "nowhere"}
    without = Recommender.load(alone(model), config_dict=settings).recommend(histories=HISTORIES, topk=5)
    with_data = Recommender.load(trained(model))
    with_data.recommend(users=["u1"])
    assert with_data.dataset.inter_num
    pd.testing.assert_frame_equal(without, with_data.recommend(histories=HISTORIES, topk=5))


def test_without_the_data_users_are_refused_with_how_to_get_them(alone):
    with pytest.raises(MissingFileError, match="dataset 'cycle' is missing"):
        Recommender.load(alone(), config_dict={"data_path": "nowhere"}).recommend(users=["u1"])


def test_many_histories_get_what_each_gets_alone(trained):
    recommender = Recommender.load(trained("EchoMamba4Rec"))
    together = recommender.recommend(histories={f"p{i}": items for i, items in enumerate(HISTORIES)}, topk=3)
    assert list(dict.fromkeys(together["user_id"])) == [f"p{i}" for i in range(len(HISTORIES))]
    for i in (0, 7, 29):
        single = recommend(trained("EchoMamba4Rec"), history=HISTORIES[i], topk=3)
        rows = together[together["user_id"] == f"p{i}"]
        assert rows["item_id"].tolist() == single["item_id"].tolist()
        assert rows["score"].tolist() == pytest.approx(single["score"].tolist(), rel=1e-4)


def test_threads_get_what_one_gets(trained):
    recommender = Recommender.load(trained("EchoMamba4Rec"))

    def ask(user):
        if user % 3 == 0:
            return recommender.recommend(users=[f"u{user}"], topk=4)
        return recommender.recommend(histories=[walk(user, 6)], topk=4)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(24)))
    for user, answer in enumerate(answers):
        pd.testing.assert_frame_equal(answer, ask(user))


def test_each_history_can_have_items_of_its_own(trained):
    recommender = Recommender.load(trained("EchoMamba4Rec"))
    table = recommender.recommend(histories=HISTORIES[:2], items=[["i3", "i4"], ["i5"]])
    assert table.groupby("user_id")["item_id"].apply(set).to_dict() == {"0": {"i3", "i4"}, "1": {"i5"}}
    with pytest.raises(UserError, match="items has 1 lists for 2 users or histories"):
        recommender.recommend(histories=HISTORIES[:2], items=[["i3"]])


def test_similar_items_have_the_largest_cosine(trained):
    recommender = Recommender.load(trained("SASRec"))
    table = recommender.similar(["i2", "i7"], topk=ITEMS)
    _, model, dataset, *_ = load_run(trained("SASRec"))
    assert table.groupby("item_id").size().to_dict() == {"i2": ITEMS - 1, "i7": ITEMS - 1}
    for row in table.itertuples():
        one, other = (
            model.item_embedding.weight[dataset.token2id("item_id", i)] for i in (row.item_id, row.similar_id)
        )
        assert row.score == pytest.approx(torch.cosine_similarity(one, other, dim=0).item(), abs=1e-6)
    assert table.groupby("item_id")["score"].apply(lambda scores: scores.is_monotonic_decreasing).all()


def write_jsonl(file):
    lines = [{"user_id": f"p{i}", "items": items} for i, items in enumerate(HISTORIES[:4])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def interactions():
    rows = [(f"p{i}", item) for i, items in enumerate(HISTORIES[:4]) for item in items]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


WRITERS = {
    "h.jsonl": write_jsonl,
    "h.csv": lambda file: interactions().to_csv(file, index=False),
    "h.parquet": lambda file: interactions().to_parquet(file),
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_the_command_reads_histories_from_a_file(trained, tmp_path, name):
    WRITERS[name](tmp_path / name)
    command = [
        "recommend",
        f"--run={trained('EchoMamba4Rec')}",
        f"--histories={tmp_path / name}",
        "--topk=2",
        "--out=top.csv",
    ]
    assert main(command) == 0
    expected = Recommender.load(trained("EchoMamba4Rec")).recommend(
        histories={f"p{i}": items for i, items in enumerate(HISTORIES[:4])}, topk=2
    )
    written = pd.read_csv("top.csv", dtype={"user_id": str})
    assert written["item_id"].tolist() == expected["item_id"].tolist()
    assert written["user_id"].tolist() == expected["user_id"].tolist()


BAD_FILES = {
    "no json": ("h.jsonl", "{\n", "h.jsonl, line 1: write"),
    "no items": ("h.jsonl", '{"user_id": 1, "items": ["i1"]}\n\n{"user_id": 2}\n', "h.jsonl, line 3: write"),
    "no list": ("h.jsonl", '{"items": "i1"}\n', "h.jsonl, line 1: write"),
    "no text": ("h.jsonl", '{"items": [null]}\n', "h.jsonl, line 1: write"),
    "a user twice": ("h.jsonl", '{"user_id": 1, "items": ["i1"]}\n' * 2, "line 2: user '1' has a line already"),
    "an empty history": ("h.jsonl", '{"user_id": "x", "items": []}\n', "the history of 'x' holds no known item"),
    "an unknown item": ("h.jsonl", '{"user_id": "x", "items": ["no"]}\n', "unknown items no"),
    "no history": ("h.jsonl", "\n", "there is no history to recommend from"),
    "no column": ("h.csv", "user,item\n1,i1\n", "h.csv has no column user_id (it has user, item)"),
    "no parquet": ("h.parquet", "x", "h.parquet cannot be read as parquet"),
    "another format": ("h.txt", "i1", "cannot tell the format of"),
    "no file": (None, "", "there is no file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_history_files_are_one_line_and_write_nothing(trained, tmp_path, capsys, case):
    name, content, words = BAD_FILES[case]
    if name:
        (tmp_path / name).write_text(content)
    command = [
        "recommend",
        f"--run={trained('EchoMamba4Rec')}",
        f"--histories={tmp_path / (name or 'h.jsonl')}",
        "--out=top.csv",
    ]
    assert main(command) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert not Path("top.csv").exists()


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("items", [None, ["i2", "i3", "i5", "i7"]])
def test_recommendations_by_blocks_of_items_are_those_from_all_scores(trained, monkeypatch, exclude_seen, items):
    recommender = Recommender.load(trained("EchoMamba4Rec"))

    def recommended():
        return recommender.recommend(histories=HISTORIES, topk=5, items=items, exclude_seen=exclude_seen)

    monkeypatch.setitem(ranking.BLOCK, "cpu", (16, 5))
    by_blocks = recommended()
    monkeypatch.setattr(best_items, "has_linear_scores", lambda model_class: False)
    pd.testing.assert_frame_equal(by_blocks, recommended())


def test_of_equal_scores_the_item_with_the_smaller_id_comes_first(trained, monkeypatch):
    recommender = Recommender.load(trained("EchoMamba4Rec"))
    with torch.no_grad():
        recommender.model.item_embedding.weight.zero_()
    expected = recommender.dataset.id2token("item_id", range(1, 6)).tolist()
    assert recommender.recommend(histories=HISTORIES[:1], topk=5)["item_id"].tolist() == expected
    monkeypatch.setattr(best_items, "has_linear_scores", lambda model_class: False)
    assert recommender.recommend(histories=HISTORIES[:1], topk=5)["item_id"].tolist() == expected


def test_asking_leaves_the_generators_of_the_program_alone(trained):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Recommender.load(trained("EchoMamba4Rec")).recommend(users=["u1"])
    assert torch.equal(torch.get_rng_state(), before)


def test_histories_without_a_known_item_are_left_out_when_unknown_ids_are_skipped(trained, caplog):
    recommender = Recommender.load(trained("EchoMamba4Rec"))
    table = recommender.recommend(histories={"a": ["no"], "b": ["i1", "no"]}, skip_unknown=True)
    assert set(table["user_id"]) == {"b"}
    assert "left out 1 history without a known item, such as a" in caplog.text
    with pytest.raises(UserError, match="no history holds a known item"):
        recommender.recommend(histories=[["no"]], skip_unknown=True)


def test_whole_numbers_of_a_parquet_file_stay_whole_and_missing_ids_are_named(tmp_path):
    file = tmp_path / "h.parquet"
    pd.DataFrame({"user_id": [7, 7, 8], "item_id": [10, 20, 30]}).to_parquet(file)
    assert read_histories(file) == {"7": ["10", "20"], "8": ["30"]}
    pd.DataFrame({"user_id": [7, 7, 8], "item_id": [10, None, 30]}).to_parquet(file)
    with pytest.raises(UserError, match=r"h\.parquet, row 2: user_id or item_id is empty"):
        read_histories(file)
