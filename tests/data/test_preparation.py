import itertools

import pytest
from recbole.utils import init_seed

from dataset_prep.__main__ import main as prepare_raw
from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.system.errors import UserError
from tests.conftest import HISTORY, ITEMS, ROWS, SMALL, USERS, write_inter
from tests.dataset_prep import layouts


def loaders(settings, **changed):
    config = Config("EchoMamba4Rec", "cycle", config_dict={**settings, **changed})
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    return dataset, data_preparation(config, dataset)


def samples(loader):
    """The history and the target of every sample, in the ids of the file."""
    found = []
    dataset = loader.dataset
    for batch in loader:
        interaction = batch if not isinstance(batch, tuple) else batch[0]
        rows = zip(interaction["item_id_list"], interaction["item_length"], interaction["item_id"], strict=True)
        for history, length, target in rows:
            assert (history[length:] == 0).all()
            assert (history[:length] > 0).all()
            found.append(
                (tuple(dataset.id2token("item_id", history[:length].numpy())), dataset.id2token("item_id", int(target)))
            )
    return found


def test_every_sample_is_a_prefix_of_a_history_and_the_item_that_follows_it(settings):
    _, (train, valid, test) = loaders(settings)
    number = {f"i{n}": n for n in range(ITEMS)}
    for loader, per_user in ((train, HISTORY - 3), (valid, 1), (test, 1)):
        found = samples(loader)
        assert len(found) == USERS * per_user
        for history, target in found:
            walk = [number[item] for item in (*history, target)]
            assert all((b - a) % ITEMS == 1 for a, b in itertools.pairwise(walk))
            assert target not in history
    assert {len(history) for history, _ in samples(test)} == {8}  # cut to the last MAX_ITEM_LIST_LENGTH


def test_each_part_holds_the_targets_of_its_own_place_in_a_history(settings):
    _, parts = loaders(settings)
    places = [set(), set(), set()]
    for loader, found in zip(parts, places, strict=True):
        for batch in loader:
            interaction = batch[0] if isinstance(batch, tuple) else batch
            users = loader.dataset.id2token("user_id", interaction["user_id"].numpy())
            items = loader.dataset.id2token("item_id", interaction["item_id"].numpy())
            # a user's start and the item give the place, because no history is longer than the circle
            found |= {(int(item[1:]) - int(user[1:])) % ITEMS for user, item in zip(users, items, strict=True)}
    assert places == [set(range(1, HISTORY - 2)), {HISTORY - 2}, {HISTORY - 1}]


def test_a_missing_dataset_says_how_to_get_it(tmp_path):
    config = Config("EchoMamba4Rec", "ml-1m", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(FileNotFoundError) as error:
        create_dataset(config)
    assert str(tmp_path / "ml-1m" / "ml-1m.inter") in str(error.value)
    assert str(error.value).endswith(f"python -m dataset_prep ml-1m --download --out {tmp_path}")
    config = Config("EchoMamba4Rec", "amazon-video-games", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"--raw reviews_Video_Games_5\.json\.gz --out"):
        create_dataset(config)
    config = Config("EchoMamba4Rec", "amazon-movies-and-tv", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"get reviews_Movies_and_TV_5\.json\.gz from http://jmcauley"):
        create_dataset(config)
    config = Config("EchoMamba4Rec", "ml-2m", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"did you mean ml-32m or"):
        create_dataset(config)


def test_a_missing_custom_dataset_names_its_file(tmp_path):
    config = Config("EchoMamba4Rec", "mine", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"mine\.inter does not exist.*data_path"):
        create_dataset(config)


@pytest.mark.parametrize(
    ("header", "missing"),
    [("user_id:token\titem_id:token", "timestamp:float"), ("user_id:token\ttimestamp:float", "item_id:token")],
)
def test_a_missing_column_is_named_with_its_file(tmp_path, header, missing):
    (tmp_path / "mine").mkdir()
    write_inter(tmp_path / "mine" / "mine.inter", [("a", "b")], header)
    config = Config("EchoMamba4Rec", "mine", config_dict={"data_path": str(tmp_path)})
    with pytest.raises(ValueError, match=f"mine.inter, line 1: there is no column `{missing}`"):
        create_dataset(config)


@pytest.mark.parametrize("interactions", [1, 2, 3])
def test_histories_too_short_to_split_are_refused(tmp_path, interactions):
    (tmp_path / "short").mkdir()
    rows = [(f"u{user}", f"i{(user + step) % 3}", str(step)) for user in range(12) for step in range(interactions)]
    write_inter(tmp_path / "short" / "short.inter", rows)
    changed = {"user_inter_num_interval": "[1,inf)", "item_inter_num_interval": "[1,inf)", "topk": 1}
    changed = {**changed, "data_path": str(tmp_path), "valid_metric": "NDCG@1"}
    config = Config("EchoMamba4Rec", "short", config_dict=changed)
    with pytest.raises(ValueError, match="four interactions"):
        data_preparation(config, create_dataset(config))


def test_a_catalogue_smaller_than_topk_is_refused(settings):
    with pytest.raises(ValueError, match=f"has {ITEMS} items after filtering, but topk asks for 20"):
        loaders(settings, topk=[10, 20])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbfuser_id:token\titem_id:token\ttimestamp:float\n", "byte order mark"),
        (b"user_id:token\titem_id:token\ttimestamp:float\ttimestamp:float\n", "'timestamp' is listed twice"),
        (b"user_id:token\titem_id:token\ttimestamp:token\n", "must be timestamp:float"),
        (b"user_id:token\titem_id:word\ttimestamp:float\n", "'word'"),
        (b"\xe9:token\titem_id:token\ttimestamp:float\n", "--encoding"),
        (b"user_id:token\titem_id:token\ttimestamp:float\n", "has no rows"),
    ],
)
def test_a_bad_header_is_refused_with_its_file(tmp_path, content, words):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.inter").write_bytes(content)
    with pytest.raises(ValueError, match=words) as error:
        create_dataset(Config("EchoMamba4Rec", "mine", config_dict={"data_path": str(tmp_path)}))
    assert "mine" in str(error.value)


def test_a_bad_header_of_the_item_file_is_refused_only_when_the_file_is_loaded(tmp_path):
    (tmp_path / "mine").mkdir()
    rows = [(f"u{user}", f"i{item}", str(item)) for user in range(5) for item in range(5)]
    write_inter(tmp_path / "mine" / "mine.inter", rows)
    (tmp_path / "mine" / "mine.item").write_text("item_id:token\tprice\ni1\t3\n")
    create_dataset(Config("EchoMamba4Rec", "mine", config_dict={"data_path": str(tmp_path)}))
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}
    config = Config("EchoMamba4Rec", "mine", config_dict={"data_path": str(tmp_path), "load_col": columns})
    with pytest.raises(UserError, match=r"mine\.item, line 1: column 'price' has kind ''; write price:KIND"):
        create_dataset(config)


ITEM_HEADER = "item_id:token\tkind:token\tprice:float\tvector:float_seq"


def cycle_with_items(folder, rows, header=ITEM_HEADER, ending="item"):
    """Write the dataset ``mine`` with an ``.item`` file, and return settings that load it."""
    (folder / "mine").mkdir()
    write_inter(folder / "mine" / "mine.inter", ROWS)
    write_inter(folder / "mine" / f"mine.{ending}", rows, header)
    columns = {
        "inter": ["user_id", "item_id", "timestamp"],
        ending: [part.split(":")[0] for part in header.split("\t")],
    }
    return {**SMALL, "data_path": str(folder), "load_col": columns}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (2, "—", "line 5: price is '—', which is no number"),
        (3, "1 x", "line 5: vector is 'x', which is no number"),
        (2, '"1', r"line 5: price is .*; a quoted field that starts here ends in line 13"),
    ],
)
@pytest.mark.parametrize("model", ["SASRec", "DIEN"])
def test_a_row_of_the_item_file_that_cannot_be_read_is_named(tmp_path, model, place, value, words):
    rows = [[f"i{item}", "k", "1.5", "1 2"] for item in range(ITEMS)]
    rows[3][place] = value
    settings = cycle_with_items(tmp_path, rows)
    metrics = {"metrics": ["NDCG"], "valid_metric": "NDCG@10"}
    with pytest.raises(UserError, match=rf"mine\.item, {words}"):
        create_dataset(Config(model, "mine", config_dict={**settings, **metrics}))


def test_a_row_of_the_user_file_that_cannot_be_read_is_named(tmp_path):
    rows = [("u0", "20"), ("u1", "old")]
    settings = cycle_with_items(tmp_path, rows, "user_id:token\tage:float", "user")
    with pytest.raises(UserError, match=r"mine\.user, line 3: age is 'old', which is no number"):
        create_dataset(Config("SASRec", "mine", config_dict=settings))


def test_an_item_file_without_rows_is_named(tmp_path):
    settings = cycle_with_items(tmp_path, [])
    with pytest.raises(UserError, match=r"mine\.item has no rows"):
        create_dataset(Config("SASRec", "mine", config_dict=settings))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"item": ["item_id", "colour"]}, r"mine\.item, line 1: there is no column 'colour', which load_col names"),
        ({"user": ["user_id"]}, r"load_col names user: .* but .*mine\.user does not exist"),
        ({"inter": ["user_id", "item_id", "timestamp", "page"]}, r"mine\.inter, line 1: there is no column 'page'"),
        ({"item": ["kind"]}, "load_col has item: .* without item_id"),
    ],
)
def test_what_load_col_names_must_exist(tmp_path, changed, words):
    settings = cycle_with_items(tmp_path, [("i1", "k", "1", "1")])
    settings["load_col"].update(changed)
    with pytest.raises(UserError, match=words):
        create_dataset(Config("SASRec", "mine", config_dict=settings))


@pytest.mark.parametrize(
    "setting",
    [
        {"val_interval": {"page": "[1,inf)"}},
        {"normalize_field": ["page"]},
        {"alias_of_item_id": ["page"]},
        {"alias_of_user_id": ["page"]},
        {"preload_weight": {"item_id": "page"}},
        {"seq_len": {"page": 2}},
        {"threshold": {"page": 1}},
    ],
)
def test_a_setting_that_names_a_column_which_is_not_loaded_is_refused(settings, setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))} names the column 'page', which is not loaded"):
        create_dataset(Config("SASRec", "cycle", config_dict={**settings, **setting}))


def test_an_additional_file_that_is_missing_is_named(settings):
    with pytest.raises(FileNotFoundError, match=r"additional_feat_suffix names 'emb', but .*cycle\.emb does not exist"):
        create_dataset(Config("SASRec", "cycle", config_dict={**settings, "additional_feat_suffix": ["emb"]}))


def test_features_that_a_model_reads_must_be_loaded(settings):
    config = Config("SASRecF", "cycle", config_dict=settings)
    with pytest.raises(UserError, match="SASRecF reads the item column 'class', which is not loaded"):
        data_preparation(config, create_dataset(config))


def test_interactions_need_not_be_filtered_by_the_item_file(settings):
    dataset = create_dataset(Config("SASRec", "cycle", config_dict={**settings, "filter_inter_by_user_or_item": False}))
    assert dataset.inter_num == USERS * HISTORY


def test_a_reranker_larger_than_the_catalogue_is_refused(settings):
    config = Config("SASRecCPR", "cycle", config_dict={**settings, "reranker_CAN_NUM": 100})
    with pytest.raises(UserError, match=f"only {ITEMS} items; set reranker_CAN_NUM"):
        data_preparation(config, create_dataset(config))


def test_a_file_that_changed_since_it_was_prepared_is_refused(tmp_path):
    layouts.write_ml1m(tmp_path / "raw", layouts.walks())
    assert prepare_raw(["ml-1m", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path)]) == 0
    config = Config("Mamba4Rec", "ml-1m", config_dict={**SMALL, "data_path": str(tmp_path)})
    create_dataset(config)
    inter = tmp_path / "ml-1m" / "ml-1m.inter"
    inter.write_bytes(inter.read_bytes()[:-3] + b"9\t\n")
    with pytest.raises(UserError, match=r"ml-1m\.inter is damaged or has been changed since it was prepared"):
        create_dataset(config)
    inter.with_name("ml-1m.prep.json").unlink()
    inter.write_bytes(inter.read_bytes()[:-4] + b"\n")
    create_dataset(config)


@pytest.mark.parametrize("damaged", ["i6\0", "i\0" + "6", "\0i6"])
def test_a_nul_byte_is_named_with_its_line(settings, tmp_path, damaged):
    rows = [("u1", "i1", "1"), ("u1", damaged, "2"), *ROWS]
    (tmp_path / "cycle").mkdir()
    write_inter(tmp_path / "cycle" / "cycle.inter", rows)
    with pytest.raises(UserError, match=r"cycle\.inter, line 3: there is a NUL byte"):
        create_dataset(Config("Mamba4Rec", "cycle", config_dict={**settings, "data_path": str(tmp_path)}))
