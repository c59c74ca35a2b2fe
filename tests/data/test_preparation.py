import itertools

import pytest
from recbole.utils import init_seed

from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.system.errors import UserError
from tests.conftest import HISTORY, ITEMS, USERS, write_inter


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
        (b"user_id:token\titem_id:token\ttimestamp:float\n", "no interaction is left"),
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
