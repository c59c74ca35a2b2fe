"""From raw files in each layout to a trained model, given only the name of the dataset."""

import pytest

from dataset_prep import amazon
from dataset_prep.__main__ import SOURCES, main, make_parser
from recbole_echomamba import Config, create_dataset, run
from tests.dataset_prep import layouts

TINY = {
    "hidden_size": 8,
    "d_state": 2,
    "MAX_ITEM_LIST_LENGTH": 5,
    "epochs": 1,
    "show_progress": False,
    "train_batch_size": 512,
}
# The settings of netflix keep users and movies with fifty ratings.
DENSE = layouts.walks(55, 52)


@pytest.mark.parametrize(
    ("name", "write", "rows", "options"),
    [
        ("ml-1m", layouts.write_ml1m, layouts.walks(), []),
        (
            "ml-32m",
            lambda raw, rows: layouts.write_movielens_csv(raw.with_name("ml-32m.zip"), rows),
            layouts.walks(),
            [],
        ),
        ("netflix", layouts.write_netflix, DENSE, []),
        ("tmall", layouts.write_ijcai16, layouts.walks(), ["--action", "all"]),
        ("tmall", layouts.write_ijcai15, layouts.walks(), ["--variant", "ijcai15", "--action", "all"]),
        ("lfm-1b", layouts.write_lfm, layouts.walks(), []),
        ("amazon-beauty", layouts.write_amazon_reviews, layouts.walks(), []),
        (
            "amazon-video-games",
            lambda raw, rows: layouts.write_amazon_ratings(raw, rows, "Video_Games"),
            layouts.walks(),
            ["--order", "time"],
        ),
        (
            "table",
            lambda raw, rows: layouts.write_table(raw.with_suffix(".csv"), rows),
            layouts.walks(),
            ["--name", "mine", "--user-col", "who", "--item-col", "what", "--time-col", "when"],
        ),
    ],
)
def test_a_raw_distribution_becomes_a_run(tmp_path, name, write, rows, options):
    raw = write(tmp_path / "raw", rows)
    assert main([name, "--raw", str(raw), "--out", "dataset", *options]) == 0
    name = "mine" if name == "table" else name
    dataset = create_dataset(Config("Mamba4Rec", name, config_dict={**TINY, "data_path": "dataset"}))
    assert dataset.inter_num == len(rows)
    # RecBole counts the padding id as well.
    assert dataset.user_num == len({row[0] for row in rows}) + 1
    assert dataset.item_num == len({row[1] for row in rows}) + 1
    result = run("Mamba4Rec", name, config_dict={**TINY, "data_path": "dataset"}, saved=False)
    assert result["epochs"] == 1


PREPARED = sorted({*SOURCES} - {"table", *amazon.NAMES} | {"amazon-beauty", "amazon-video-games"})


@pytest.mark.parametrize("name", PREPARED)
def test_every_dataset_has_its_history_length_and_a_command_that_prepares_it(name):
    config = Config("EchoMamba4Rec", name)
    assert config["MAX_ITEM_LIST_LENGTH"] == (50 if name.startswith("amazon") else 200)
    with pytest.raises(FileNotFoundError, match=f"python -m dataset_prep {name} --") as error:
        create_dataset(config)
    command = str(error.value).partition("python -m dataset_prep ")[2].split()
    assert make_parser().parse_args(command).source == name


@pytest.mark.parametrize(
    ("name", "users", "items"),
    [("netflix", "[50,inf)", "[50,15000]"), ("lfm-1b", "[5,500]", "[5,inf)"), ("ml-32m", "[5,inf)", "[5,inf)")],
)
def test_the_published_filters_are_the_defaults(name, users, items):
    config = Config("EchoMamba4Rec", name)
    assert (config["user_inter_num_interval"], config["item_inter_num_interval"]) == (users, items)
