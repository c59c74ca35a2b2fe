"""The dataset in flat columns has the same samples and numbers as RecBole's own class, which runs beside it."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.data import data_preparation as stock_preparation
from recbole.data.dataset import SequentialDataset
from recbole.utils import init_seed

from recbole_echomamba import Config, Trainer, create_dataset, data_preparation, get_model
from recbole_echomamba.data.compatible_dataset import CompatibleDataset
from recbole_echomamba.data.run_warnings import warn_of_data
from recbole_echomamba.data.windowed_dataset import WindowedDataset
from recbole_echomamba.data.windowed_interaction import WindowedInteraction
from recbole_echomamba.system.errors import UserError
from tests.conftest import write_inter

SMALL = {
    "MAX_ITEM_LIST_LENGTH": 10,
    "user_inter_num_interval": "[200,inf)",
    "item_inter_num_interval": "[5,inf)",
    "hidden_size": 8,
    "inner_size": 8,
    "embedding_size": 8,
    "n_heads": 2,
    "d_state": 2,
    "epochs": 1,
    "show_progress": False,
}
MODELS = ["SASRec", "BERT4Rec", "GRU4Rec", "Caser", "NARM", "FPMC", "EchoMamba4Rec", "Mamba4Rec"]


PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3


def both(model, data="ml-100k", reference=SequentialDataset, **changed):
    """Config, dataset and loaders from the same settings and seed: first RecBole's, then ours."""
    made = []
    for stock in (True, False):
        config = Config(model, data, config_dict={**SMALL, **changed})
        init_seed(config["seed"], True)
        dataset = reference(config) if stock else create_dataset(config)
        loaders = stock_preparation(config, dataset) if stock else data_preparation(config, dataset)
        made.append((config, dataset, loaders))
    assert isinstance(made[1][1], WindowedDataset)
    return made


def assert_same_samples(theirs, ours):
    assert ours.columns == theirs.columns
    for field in theirs.columns:
        assert ours[field].dtype == theirs[field].dtype, field
        assert torch.equal(ours[field], theirs[field]), field


@pytest.mark.parametrize("model", MODELS)
def test_batches_and_metrics_are_recboles_bit_for_bit_on_ml_100k(model, tmp_path):
    results = []
    made = both(model, checkpoint_dir=str(tmp_path))
    for part in zip(made[0][2], made[1][2], strict=True):
        assert_same_samples(*(loader.dataset.inter_feat for loader in part))
    for config, _, (train, valid, test) in made:
        init_seed(config["seed"], True)
        state = train.generator.get_state()
        batches = [batch for _, batch in zip(range(2), train, strict=False)]
        train.generator.set_state(state)
        init_seed(config["seed"], True)
        net = get_model(model)(config, train.dataset)
        trainer = Trainer(config, net)
        best = trainer.fit(train, valid, saved=False)
        results.append((batches, best, trainer.evaluate(test, load_best_model=False)))
    for theirs, ours in zip(results[0][0], results[1][0], strict=True):
        assert_same_samples(theirs, ours)
    assert results[0][1:] == results[1][1:]


@pytest.mark.parametrize(
    "evaluation",
    [
        {"split": {"LS": "valid_only"}},
        {"split": {"LS": "test_only"}},
        {"split": {"RS": [0.8, 0.1, 0.1]}},
        {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": None},
    ],
    ids=["valid only", "test only", "ratio by user", "ratio by time"],
)
def test_every_split_is_recboles(evaluation):
    stated = {"group_by": "user", "order": "TO", "mode": "full", **evaluation}
    parts = []
    for stock in (True, False):
        config = Config("SASRec", "ml-100k", config_dict={**SMALL, "eval_args": stated})
        dataset = SequentialDataset(config) if stock else create_dataset(config)
        parts.append([part.inter_feat for part in dataset.build()])
    for theirs, ours in zip(*parts, strict=True):
        assert isinstance(ours, WindowedInteraction)
        if len(theirs):
            assert_same_samples(theirs, ours)
        assert len(ours) == len(theirs)


def test_evaluation_on_sampled_items_reads_the_same_samples():
    modes = {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "uni50"}
    made = both("SASRec", eval_args=modes)
    batches = []
    for _, _, (_, valid, _) in made:
        init_seed(1, True)
        batches.append(next(iter(valid)))
    assert_same_samples(batches[0][0], batches[1][0])
    assert all(torch.equal(a, b) for a, b in zip(batches[0][1:], batches[1][1:], strict=True))


def test_the_matrix_of_interactions_is_recboles():
    (_, theirs, _), (_, ours, _) = both("SASRec")
    assert (theirs.inter_matrix("csr") != ours.inter_matrix("csr")).nnz == 0
    assert ours.inter_matrix().nnz == theirs.inter_matrix().nnz > 0


def test_item_and_user_features_are_joined_as_recbole_joins_them():
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"], "user": ["user_id", "age"]}
    # under pandas 3 RecBole's own class cannot read lists
    reference = CompatibleDataset if PANDAS_3 else SequentialDataset
    changed = {"load_col": columns, "selected_features": ["class"]}
    (_, theirs, (a, _, _)), (_, ours, (b, _, _)) = both("GRU4RecF", reference=reference, **changed)
    assert ours.item_num == theirs.item_num
    assert ours.field2id_token["class"].tolist() == theirs.field2id_token["class"].tolist()
    assert_same_samples(theirs.item_feat, ours.item_feat)
    assert_same_samples(a.dataset[np.arange(5)], b.dataset[np.arange(5)])


def awkward(folder):
    """Write ids that pandas takes for missing, quotes, rows in no order, and times that are equal in float32."""
    folder.mkdir()
    draw = random.Random(3)
    rows = []
    for user in range(40):
        for _ in range(draw.randrange(3, 14)):
            item = draw.choice(["a", "b", "c", "d", "e", '"q t"', "it's", "0", "00", "1.0", "é", "NA"])
            rows.append((f"u{user}", item, str(1_600_000_000 + draw.randrange(300))))
    rows.append(("u1", "null", "1600000000"))
    draw.shuffle(rows)
    write_inter(folder / f"{folder.name}.inter", rows)


@pytest.mark.parametrize("interval", ["[1,inf)", "[5,inf)", "[5,9]", "(4,8);[11,inf)"])
def test_awkward_files_are_read_filtered_numbered_and_ordered_as_recbole_does(tmp_path, interval):
    awkward(tmp_path / "odd")
    changed = {"data_path": str(tmp_path), "topk": [1], "valid_metric": "NDCG@1"}
    changed |= {"user_inter_num_interval": interval, "item_inter_num_interval": "[3,inf)"}
    (_, theirs, a), (_, ours, b) = both("SASRec", "odd", **changed)
    for field in ("user_id", "item_id"):
        assert ours.field2id_token[field].tolist() == theirs.field2id_token[field].tolist()
        assert ours.field2token_id[field] == theirs.field2token_id[field]
    assert_same_samples(theirs.inter_feat, ours.inter_feat)
    for part in zip(a, b, strict=True):
        assert_same_samples(*(loader.dataset.inter_feat for loader in part))


def test_rows_without_a_user_or_an_item_are_all_left_out(tmp_path, caplog):
    (tmp_path / "holes").mkdir()
    rows = [(f"u{user}", f"i{item}", str(item)) for user in range(3) for item in range(5)]
    rows[1:1] = [("NA", "i1", "1"), ("u1", "null", "2"), ("", "i2", "3"), ("u2", "None", "4")]
    write_inter(tmp_path / "holes" / "holes.inter", rows)
    intervals = {"user_inter_num_interval": "[1,inf)", "item_inter_num_interval": "[1,inf)"}
    dataset = create_dataset(Config("SASRec", "holes", config_dict={"data_path": str(tmp_path), **intervals}))
    assert len(dataset.inter_feat) == 15
    assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", "i0", "i1", "i2", "i3", "i4"]
    assert "4 rows without user_id or item_id left out (lines 3, 4, 5, 6" in caplog.text


def test_a_row_with_a_field_too_few_is_refused_with_the_file(tmp_path):
    (tmp_path / "bad").mkdir()
    write_inter(tmp_path / "bad" / "bad.inter", [("u", "i", "1"), ("u", "j")])
    config = Config("SASRec", "bad", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(ValueError, match=r"bad\.inter cannot be read.*Row #3"):
        create_dataset(config)


def test_a_time_that_is_no_number_is_refused_with_the_file(tmp_path):
    (tmp_path / "bad").mkdir()
    write_inter(tmp_path / "bad" / "bad.inter", [("u", "i", "1"), ("u", "j", "noon")])
    config = Config("SASRec", "bad", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(ValueError, match=r"bad\.inter cannot be read.*Row #3.*noon"):
        create_dataset(config)


@pytest.mark.parametrize(("time", "reason"), [("0x10", "0x10"), ("inf", "infinite"), ("1e400", "infinite")])
def test_a_hexadecimal_or_infinite_time_is_refused_with_its_row(tmp_path, time, reason):
    (tmp_path / "bad").mkdir()
    write_inter(tmp_path / "bad" / "bad.inter", [("u", "i", "1"), ("u", "j", time)])
    config = Config("SASRec", "bad", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(UserError, match=rf"bad\.inter cannot be read: .*Row #3: .*{reason}"):
        create_dataset(config)


def two_orders(tmp_path, exact):
    """Read two users; the last two times of the first are equal in float32, and reversed in the file."""
    (tmp_path / "late").mkdir(exist_ok=True)
    times = {"u": [1, 2, 3, 1_600_000_010, 1_600_000_000], "v": [1, 2, 3, 4, 5]}
    rows = [(user, f"i{place}", str(time)) for user, given in times.items() for place, time in enumerate(given)]
    write_inter(tmp_path / "late" / "late.inter", rows)
    changed = {"data_path": str(tmp_path), "exact_time_order": exact, "topk": [1], "valid_metric": "NDCG@1"}
    intervals = {"user_inter_num_interval": "[1,inf)", "item_inter_num_interval": "[1,inf)"}
    config = Config("SASRec", "late", config_dict={**SMALL, **changed, **intervals})
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    warn_of_data(config, dataset, [loader.dataset for loader in loaders])
    test = loaders[2]
    return dataset, test.dataset.id2token("item_id", test.dataset.inter_feat["item_id"].numpy()).tolist()


def test_exact_order_differs_where_float32_rounds_and_the_warning_counts_the_users(tmp_path, caplog):
    dataset, items = two_orders(tmp_path, exact=False)
    assert dataset.reordered_users == 1
    assert "1 user has another last item" in caplog.text
    assert "exact_time_order=True" in caplog.text
    assert items == ["i4", "i4"]
    caplog.clear()
    dataset, items = two_orders(tmp_path, exact=True)
    assert sorted(items) == ["i3", "i4"]
    assert "another last item" not in caplog.text


def test_samples_are_sorted_and_shuffled_as_recbole_sorts_them(settings):
    config = Config("Mamba4Rec", "cycle", config_dict=settings)
    ours, theirs = (kind(config) for kind in (WindowedDataset, SequentialDataset))
    ours, theirs = (part.build() and part.inter_feat for part in (ours, theirs))
    for by in ("item_id", ["item_id", "user_id"], ["user_id", "timestamp"]):
        ours.sort(by)
        theirs.sort(by)
        assert_same_samples(theirs, ours)
    # RecBole's own fails here
    ours.sort("item_id", ascending=False)
    assert (ours["item_id"][1:] <= ours["item_id"][:-1]).all()
    theirs.sort("user_id")
    ours.sort(["user_id", "timestamp"])
    for samples in (ours, theirs):
        torch.manual_seed(1)
        samples.shuffle()
    assert_same_samples(theirs, ours)


def test_reading_a_dataset_never_cuts_all_windows_at_once(settings, monkeypatch):
    def refuse(self):
        raise AssertionError("all windows were cut out at once")

    monkeypatch.setattr(WindowedInteraction, "interaction", property(refuse))
    config = Config("EchoMamba4Rec", "cycle", config_dict=settings)
    loaders = data_preparation(config, create_dataset(config))
    assert all(len(list(loader)) > 0 for loader in loaders)
