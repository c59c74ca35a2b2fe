"""A model card says what the files of a run say."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from recbole_echomamba import run
from recbole_echomamba.card import write_card
from recbole_echomamba.cli import main
from recbole_echomamba.config.settings_hash import hashed_settings
from recbole_echomamba.system.errors import MissingFileError, UserError
from tests.conftest import ITEMS, SMALL, USERS


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    """The run directory of a causal variant, which no test changes."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, "data_path": str(data_path), "checkpoint_dir": str(folder), "causal": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return Path(run("EchoMamba4Rec", "cycle", config_dict=settings)["run_directory"])


@pytest.fixture(scope="module")
def card(trained, tmp_path_factory):
    return write_card(trained, tmp_path_factory.mktemp("card") / "card.md").read_text()


def read_result(directory):
    return json.loads((directory / "result.json").read_text())


def test_hubs_read_the_metrics_of_both_protocols(trained, card):
    _, metadata, _ = card.split("---\n", 2)
    (entry,) = yaml.safe_load(metadata)["model-index"]
    (tested,) = entry["results"]
    found = {metric["name"]: metric["value"] for metric in tested["metrics"]}
    result = read_result(trained)
    assert found["ndcg@10, all items ranked"] == result["test_result"]["ndcg@10"]
    assert found["ndcg@10, items of the history left out"] == result["test_result_unseen"]["ndcg@10"]
    assert len(found) == len(result["test_result"]) + len(result["test_result_unseen"])
    assert tested["dataset"] == {"type": "cycle", "name": "cycle", "split": "test"}


def test_the_table_has_metrics_with_their_spread_over_targets(trained, card):
    result = read_result(trained)
    ranks = pd.read_parquet(trained / "test_ranks.parquet")
    hit = ranks["rank"] <= 5
    (row,) = [line for line in card.splitlines() if line.startswith("| hit@5 |")]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells[0] == f"{result['best_valid_result']['hit@5']:.4f}"
    assert cells[1] == f"{result['test_result']['hit@5']:.4f} ± {hit.sem():.4f}"
    assert cells[2] == f"{result['best_valid_result_unseen']['hit@5']:.4f}"
    assert cells[3] == f"{result['test_result_unseen']['hit@5']:.4f} ± {(ranks['rank_unseen'] <= 5).sem():.4f}"


def test_settings_hashes_data_and_variant_are_those_of_the_run(trained, card):
    result = read_result(trained)
    for name in ("config_hash", "data_hash", "weights_digest"):
        assert result[name] in card
    assert f"{USERS} users and {ITEMS} items" in card
    assert "not the model of the paper" in card
    block = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert block.pop("seed") == 2020
    assert block == hashed_settings(yaml.safe_load((trained / "config.yaml").read_text()))


def test_the_program_in_the_card_recommends(trained, card):
    program = card.split("```python\n")[1].split("```")[0]
    found = {}
    exec(program.replace("FOLDER", str(trained)), found)
    assert len(found["table"]) == 10


def test_no_path_of_the_machine_is_published(trained, card, data_path):
    assert str(trained.parent) not in card
    assert str(data_path) not in card


def test_a_run_on_all_data_is_called_untested(settings):
    directory = run("Mamba4Rec", "cycle", config_dict={**settings, "train_on": "all", "epochs": 1})["run_directory"]
    assert main(["card", directory]) == 0
    text = (Path(directory) / "README.md").read_text()
    assert "neither validated nor tested" in text
    assert "model-index" not in text
    with pytest.raises(UserError, match=r"README.md exists and may have been edited; remove it"):
        write_card(directory)


@pytest.mark.parametrize("damage", ["no result", "no metrics"])
def test_a_run_without_a_whole_result_is_refused(trained, tmp_path, damage):
    (tmp_path / "run").mkdir()
    for name in ("config.yaml", "vocabulary.parquet"):
        (tmp_path / "run" / name).write_bytes((trained / name).read_bytes())
    if damage == "no metrics":
        (tmp_path / "run" / "result.json").write_text("{}")
    message = {"no result": "has no result of its present weights; finish it", "no metrics": "result.json is damaged"}
    with pytest.raises(UserError, match=message[damage]):
        write_card(tmp_path / "run")
    assert not (tmp_path / "run" / "README.md").exists()


def test_what_is_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(MissingFileError, match="is not a run directory"):
        write_card(tmp_path)
    assert main(["card", "nowhere"]) == 1
    assert capsys.readouterr().err == "error: nowhere is not a run directory: it holds no config.yaml\n"


def test_a_setting_is_refused(trained, capsys):
    assert main(["card", str(trained), "--topk=5"]) == 1
    assert "--topk has no meaning here" in capsys.readouterr().err
