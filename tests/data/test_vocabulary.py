"""Data that have changed since a run was trained keep the ids of the training."""

import random
import shutil
from pathlib import Path

import pytest

from recbole_echomamba import Trainer, load_run, recommend, run
from recbole_echomamba.system.errors import UserError
from tests.conftest import HISTORY, ITEMS, ROWS, SMALL, USERS, write_inter


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, "data_path": str(data_path), "checkpoint_dir": str(folder), "learning_rate": 0.02, "epochs": 6}
    return run("EchoMamba4Rec", "cycle", config_dict=settings)


def changed(folder, rows, shuffled=True):
    (folder / "cycle").mkdir(parents=True, exist_ok=True)
    rows = random.Random(1).sample(rows, len(rows)) if shuffled else rows
    write_inter(folder / "cycle" / "cycle.inter", rows)
    return {"data_path": str(folder)}


def first_choices(trained, **arguments):
    return recommend(trained["run_directory"], topk=1, **arguments).set_index("user_id")["item_id"].to_dict()


def test_rows_in_another_order_change_nothing(trained, tmp_path, caplog):
    before = first_choices(trained)
    assert "data have changed" not in caplog.text
    now = changed(tmp_path, ROWS)
    assert first_choices(trained, config_dict=now) == before
    assert "the data have changed since" in caplog.text
    config, model, _, _, _, test = load_run(trained["run_directory"], config_dict=now)
    assert Trainer(config, model).evaluate(test, load_best_model=False) == trained["test_result"]


def test_new_events_users_and_items_are_followed_without_training_again(trained, tmp_path, caplog):
    later = [("u0", f"i{HISTORY % ITEMS}", "50"), ("new", "i3", "51"), ("new", "i4", "52"), ("new", "i5", "53")]
    strange = [("u1", "never seen", "54"), ("new", "never seen", "50")]
    now = changed(tmp_path, [*strange, *later, *ROWS])
    first = first_choices(
        trained, config_dict={**now, "user_inter_num_interval": "[0,inf)", "item_inter_num_interval": "[0,inf)"}
    )
    assert "2 interactions with items that" in caplog.text
    assert first["new"] == "i6"
    assert first["u0"] == f"i{(HISTORY + 1) % ITEMS}"
    assert all(first[f"u{user}"] == f"i{(user + HISTORY) % ITEMS}" for user in range(1, USERS))


def test_a_user_who_is_gone_leaves_the_others_as_they_were(trained, tmp_path):
    before = first_choices(trained)
    now = changed(tmp_path, [row for row in ROWS if row[0] != "u5"])
    assert first_choices(trained, config_dict=now) == {user: item for user, item in before.items() if user != "u5"}


def test_a_model_with_an_embedding_per_user_serves_those_of_its_training_and_counts_the_others(
    settings, tmp_path, caplog
):
    done = run("FPMC", "cycle", config_dict={**settings, "epochs": 1, "embedding_size": 8})
    again = changed(tmp_path / "same users", ROWS)
    before = recommend(done["run_directory"]).sort_values(["user_id", "rank"])
    now = recommend(done["run_directory"], config_dict=again).sort_values(["user_id", "rank"])
    assert now["item_id"].tolist() == before["item_id"].tolist()
    more = changed(tmp_path / "more", [*ROWS, *((f"v{user[1:]}", item, time) for user, item, time in ROWS)])
    now = recommend(done["run_directory"], config_dict=more).sort_values(["user_id", "rank"])
    assert now["item_id"].tolist() == before["item_id"].tolist()
    assert f"{USERS} of {2 * USERS} users of dataset cycle are left out: {USERS} are new, and FPMC has" in caplog.text
    with pytest.raises(ValueError, match="or they are new to FPMC"):
        recommend(done["run_directory"], users=["v1"], config_dict=more)
    assert not [text for text in caplog.messages if "later than a test target" in text]


def test_other_changed_fields_are_refused(settings, data_path, tmp_path):
    folder = tmp_path / "data" / "cycle"
    folder.mkdir(parents=True)
    header = "user_id:token\titem_id:token\ttimestamp:float\tshop:token"
    write_inter(folder / "cycle.inter", [(*row, f"s{i % 3}") for i, row in enumerate(ROWS)], header)
    given = {**settings, "data_path": str(folder.parent), "load_col": None, "epochs": 1}
    done = run("Mamba4Rec", "cycle", config_dict=given)
    write_inter(folder / "cycle.inter", [(*row, f"s{i % 4}") for i, row in enumerate(ROWS)], header)
    with pytest.raises(ValueError, match="shop of dataset cycle have other values"):
        load_run(done["run_directory"])


def test_settings_that_make_another_model_are_refused(trained):
    with pytest.raises(ValueError, match="hidden_size, num_layers cannot change any more"):
        load_run(trained["run_directory"], config_dict={"num_layers": 2, "hidden_size": 8, "gpu_id": ""})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"vocabulary\.parquet does not exist"),
        (b"PAR1 or so", r"vocabulary\.parquet is damaged or has been changed"),
    ],
)
def test_a_run_without_its_vocabulary_is_refused(trained, tmp_path, content, message):
    copied = Path(shutil.copytree(trained["run_directory"], tmp_path / "run"))
    (copied / "vocabulary.parquet").unlink()
    if content:
        (copied / "vocabulary.parquet").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_run(copied)
