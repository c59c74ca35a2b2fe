"""Datasets that their user has split into files."""

import itertools

import pytest

from recbole_echomamba import Config, create_dataset, data_preparation, run
from recbole_echomamba.recommendation import recommend
from recbole_echomamba.system.errors import UserError
from tests.conftest import ITEMS, SMALL, USERS, write_inter

PLACES = {"train": (1, 2, 3), "valid": (4,), "test": (5,)}
"""The length of the histories of each part; the longest is shorter than MAX_ITEM_LIST_LENGTH."""


def write_parts(folder, parts=("train", "valid", "test"), item="item_id"):
    """Write the dataset ``split``: every user walks a circle of items from another start."""
    (folder / "split").mkdir()
    for part in parts:
        rows = []
        for user in range(USERS):
            walk = [f"i{(user + step) % ITEMS}" for step in range(6)]
            for length in PLACES[part]:
                times = " ".join(str(100 * step) for step in range(length))
                rows.append((f"u{user}", " ".join(walk[:length]), times, walk[length], str(100 * length)))
        header = f"user_id:token\t{item}_list:token_seq\ttimestamp_list:float_seq\t{item}:token\ttimestamp:float"
        write_inter(folder / "split" / f"split.{part}.inter", rows, header)
    return {
        **SMALL,
        "epochs": 1,
        "topk": [5],
        "valid_metric": "NDCG@5",
        "data_path": str(folder),
        "benchmark_filename": list(parts),
        "load_col": None,
        "ITEM_ID_FIELD": item,
    }


def loaders(settings, model="Mamba4Rec"):
    config = Config(model, "split", config_dict=settings)
    return data_preparation(config, create_dataset(config))


def histories(loader, item="item_id"):
    """The past items and the target of every sample, as the numbers of the file's ids."""
    found = []
    for batch in loader:
        rows = batch[0] if isinstance(batch, tuple) else batch
        for past, length, target in zip(rows[f"{item}_list"], rows["item_length"], rows[item], strict=True):
            assert (past[length:] == 0).all()
            ids = loader.dataset.id2token(item, [*past[:length].tolist(), int(target)])
            found.append([int(text[1:]) for text in ids])
    return found


@pytest.mark.parametrize("item", ["item_id", "sku"])
@pytest.mark.parametrize("slots", [3, 8])
def test_a_list_has_all_slots_and_the_newest_items_with_the_ids_of_the_targets(tmp_path, item, slots):
    settings = write_parts(tmp_path, item=item)
    parts = loaders({**settings, "MAX_ITEM_LIST_LENGTH": slots})
    for loader, lengths in zip(parts, PLACES.values(), strict=True):
        found = histories(loader, item)
        assert loader.dataset.inter_feat[f"{item}_list"].shape == (USERS * len(lengths), slots)
        assert loader.dataset.inter_feat["timestamp_list"].shape == (USERS * len(lengths), slots)
        assert sorted({len(walk) - 1 for walk in found}) == sorted({min(length, slots) for length in lengths})
        assert all((after - before) % ITEMS == 1 for walk in found for before, after in itertools.pairwise(walk))


@pytest.mark.parametrize("model", ["EchoMamba4Rec", "SASRec"])
def test_a_model_trains_on_split_files_and_recommends_to_every_user(tmp_path, model):
    result = run(model, "split", config_dict={**write_parts(tmp_path), "MAX_ITEM_LIST_LENGTH": 8})
    assert result["best_valid_result"].keys() == result["test_result"].keys()
    top = recommend(result["run_directory"], topk=2)
    assert top["user_id"].nunique() == USERS
    unseen = recommend(result["run_directory"], topk=2, exclude_seen=True)
    for row in unseen.itertuples():
        assert (int(row.item_id[1:]) - int(row.user_id[1:])) % ITEMS > 5


def test_without_a_validation_part_all_epochs_are_trained_and_the_last_is_tested(tmp_path, caplog):
    result = run("GRU4Rec", "split", config_dict={**write_parts(tmp_path, ["train", "test"]), "epochs": 2})
    assert (result["epochs"], result["best_epoch"], result["best_valid_result"]) == (2, 1, {})
    assert set(result["test_result"]) == {"hit@5", "ndcg@5", "mrr@5"}
    assert "no validation part: training lasts all 2 epochs" in caplog.text


def test_the_test_part_may_be_left_out(tmp_path):
    train, valid, test = loaders(write_parts(tmp_path, ["train", "valid"]))
    assert [len(loader.dataset) for loader in (train, valid, test)] == [3 * USERS, USERS, 0]


@pytest.mark.parametrize("parts", [["train", "test"], ["train", "valid"]])
def test_an_empty_part_is_no_obstacle_to_sampled_evaluation(tmp_path, parts):
    _, valid, test = loaders({**write_parts(tmp_path, parts), "eval_args": {"mode": "uni5"}})
    assert [len(valid) > 0, len(test) > 0] == [part in parts for part in ("valid", "test")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("u1", "", "", "i2", "5"), "line 146: item_id_list is empty"),
        (("u1", "i1", "1", "", "5"), "line 146: there is no item_id"),
        (("u1", "i1", "one", "i2", "5"), "line 146: timestamp_list is 'one', which is no number"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, row, words):
    settings = write_parts(tmp_path)
    file = tmp_path / "split" / "split.train.inter"
    file.write_text(file.read_text() + "\t".join(row) + "\n")
    with pytest.raises(UserError, match=rf"split\.train\.inter, {words}"):
        create_dataset(Config("Mamba4Rec", "split", config_dict=settings))


def test_a_part_that_is_missing_or_empty_is_named(tmp_path):
    settings = write_parts(tmp_path)
    (tmp_path / "split" / "split.valid.inter").unlink()
    with pytest.raises(FileNotFoundError, match=r"benchmark_filename names 'valid', but .*split\.valid\.inter"):
        loaders(settings)
    write_inter(tmp_path / "split" / "split.valid.inter", [], "user_id:token\titem_id_list:token_seq\titem_id:token")
    with pytest.raises(UserError, match=r"split\.valid\.inter has no rows; leave 'valid' out"):
        loaders(settings)


@pytest.mark.parametrize(
    ("model", "changed", "words"),
    [
        (
            "Mamba4Rec",
            {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}},
            "item_id_list .*set load_col: None",
        ),
        ("DIEN", {"metrics": ["NDCG"]}, "DIEN builds the histories itself"),
        ("Mamba4Rec", {"TIME_FIELD": "at", "time_gaps": True}, "time_gaps needs a column at_list:float_seq"),
    ],
)
def test_what_split_files_cannot_give_is_refused(tmp_path, model, changed, words):
    with pytest.raises(UserError, match=words):
        loaders({**write_parts(tmp_path), **changed}, model)


@pytest.mark.parametrize(("eval_step", "warned"), [(1, False), (3, True), (10, False)])
def test_epochs_after_the_last_validation_are_said(tmp_path, caplog, eval_step, warned):
    run("GRU4Rec", "split", config_dict={**write_parts(tmp_path), "epochs": 4, "eval_step": eval_step})
    assert ("training ends with 1 epoch that no validation follows" in caplog.text) == warned
