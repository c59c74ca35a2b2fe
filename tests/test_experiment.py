import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
import yaml

from recbole_echomamba import Config, Trainer, load_run, run
from recbole_echomamba.experiment import build
from tests.conftest import SMALL

RESULT_KEYS = {
    "model",
    "dataset",
    "variant",
    "seed",
    "processes",
    "config",
    "config_hash",
    "data_hash",
    "best_valid_score",
    "valid_score_bigger",
    "best_valid_result",
    "test_result",
    "best_valid_result_unseen",
    "test_result_unseen",
    "best_epoch",
    "epochs",
    "seconds_per_epoch",
    "users_per_second",
    "warnings",
    "tied_targets",
    "weights_digest",
    "peak_memory",
    "parameters",
    "history",
    "machine",
    "versions",
    "run_directory",
}

LEARNS = {"epochs": 4, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def finished(data_path, tmp_path_factory):
    """The result of a run, whose directory is only read."""
    folder = tmp_path_factory.mktemp("finished")
    settings = {**SMALL, **LEARNS, "data_path": str(data_path), "checkpoint_dir": str(folder / "saved")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run("EchoMamba4Rec", "cycle", config_dict=settings)


def test_a_run_leaves_a_directory_that_says_what_was_done(finished):
    directory = Path(finished["run_directory"])
    assert directory.name.startswith("EchoMamba4Rec-cycle-")
    assert directory.name.endswith(f"-s2020-{finished['config_hash']}")
    names = {file.name for file in directory.iterdir()}
    assert names - {".lock"} == {
        "config.yaml",
        "model.safetensors",
        "training_state.pt",
        "test_ranks.parquet",
        "result.json",
        "vocabulary.parquet",
        "manifest.json",
    }
    result = json.loads((directory / "result.json").read_text())
    assert set(result) == RESULT_KEYS
    assert result["test_result"] == finished["test_result"]
    assert result["epochs"] == 4 == len(result["history"])
    assert result["config"]["learning_rate"] == 0.01
    assert result["machine"]["threads"] == torch.get_num_threads()
    assert result["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    best = max(result["history"], key=lambda entry: entry["valid_score"])
    assert result["best_valid_score"] == best["valid_score"]
    assert yaml.safe_load((directory / "config.yaml").read_text())["model"] == "EchoMamba4Rec"


def test_the_metrics_follow_from_the_ranks_kept_per_user(finished):
    table = pyarrow.parquet.read_table(Path(finished["run_directory"]) / "test_ranks.parquet").to_pydict()
    assert len(table["user"]) == 48 == len(set(table["user"]))
    rank = np.array(table["rank"])
    for k in (5, 10):
        assert finished["test_result"][f"hit@{k}"] == pytest.approx((rank <= k).mean(), abs=1e-4)
        gain = np.where(rank <= k, 1 / np.log2(rank + 1), 0)
        assert finished["test_result"][f"ndcg@{k}"] == pytest.approx(gain.mean(), abs=1e-4)
    for user, item in zip(table["user"], table["item"], strict=True):
        assert item == f"i{(int(user[1:]) + 10) % 12}"


def test_the_same_seed_gives_the_same_result_and_a_second_directory(settings, finished):
    again = run("EchoMamba4Rec", "cycle", config_dict={**settings, **LEARNS})
    assert again["test_result"] == finished["test_result"]
    losses = [[entry["train_loss"] for entry in result["history"]] for result in (finished, again)]
    assert losses[0] == losses[1]
    assert again["run_directory"] != finished["run_directory"]


def test_a_saved_run_reloads_in_another_process_and_scores_identically(finished, tmp_path):
    code = f"""
import json, torch
from recbole_echomamba import Trainer, load_run
config, model, dataset, train, valid, test = load_run({finished["run_directory"]!r})
trainer = Trainer(config, model)
print(json.dumps(trainer.evaluate(test, load_best_model=False)))
with torch.no_grad():
    torch.save(model.full_sort_predict(next(iter(test))[0]), {str(tmp_path / "scores.pt")!r})
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(out.splitlines()[-1]) == finished["test_result"]
    _, model, _, _, _, test = load_run(finished["run_directory"])
    with torch.no_grad():
        scores = model.full_sort_predict(next(iter(test))[0])
    assert torch.equal(torch.load(tmp_path / "scores.pt"), scores)


def test_the_model_does_not_depend_on_what_drew_random_numbers_before(settings):
    config = Config("BERT4Rec", "cycle", config_dict={**settings, "n_heads": 2})
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        weights.append(build(config).model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_dataset_can_be_changed_before_it_is_split(settings):
    seen = []
    built = build(Config("Mamba4Rec", "cycle", config_dict=settings), lambda dataset: seen.append(len(dataset)))
    assert seen == [48 * 11]
    # a sample for every interaction but each user's first; the last two of each user are held out
    assert [len(part.dataset) for part in (built.train, built.valid, built.test)] == [48 * 8, 48, 48]


def test_settings_that_make_another_model_cannot_change_after_training(finished):
    with pytest.raises(ValueError, match="hidden_size, n_layers cannot change any more"):
        load_run(finished["run_directory"], config_dict={"n_layers": 3, "hidden_size": 8, "topk": [3]})


def test_a_run_directory_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run directory"):
        load_run(tmp_path)


@pytest.mark.parametrize("model", ["SASRec", "BERT4Rec", "GRU4Rec", "FPMC", "Mamba4Rec"])
def test_recboles_models_run_reload_and_keep_their_files_like_ours(settings, model):
    changed = {**settings, "epochs": 1, "n_heads": 2, "embedding_size": 16}
    result = run(model, "cycle", config_dict=changed)
    assert set(result) == RESULT_KEYS
    config, loaded, _, _, _, test = load_run(result["run_directory"])
    assert type(loaded).__name__ == model
    assert Trainer(config, loaded).evaluate(test, load_best_model=False) == result["test_result"]


def test_without_saving_nothing_is_kept(settings, tmp_path):
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1}, saved=False)
    assert result["run_directory"] is None
    assert list((tmp_path / "saved").iterdir()) == []


def test_a_result_file_holds_the_same_json(settings, tmp_path):
    result = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1}, result_file=tmp_path / "r.json")
    kept = Path(result["run_directory"]) / "result.json"
    assert (tmp_path / "r.json").read_text() == kept.read_text()
    with pytest.raises(FileNotFoundError, match="no folder"):
        run("Mamba4Rec", "cycle", config_dict=settings, result_file=tmp_path / "gone" / "r.json")


def test_training_imports_neither_ray_nor_hyperopt_nor_plotting(settings):
    code = f"""
import sys
from recbole_echomamba import run
run("EchoMamba4Rec", "cycle", config_dict={ {**settings, "epochs": 1}!r})
print([name for name in ("ray", "hyperopt", "matplotlib", "mamba_ssm") if name in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_a_program_that_calls_us_prints_no_warning_of_other_packages(settings):
    code = f"""
from recbole_echomamba import load_run, recommend, run
settings = { {**settings, "epochs": 1, "n_heads": 2}!r}
for model in ("Mamba4Rec", "SASRec"):
    directory = run(model, "cycle", config_dict=settings)["run_directory"]
    load_run(directory)
    recommend(directory)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "Warning: " not in done.stderr + done.stdout


def test_config_is_the_same_in_a_run_and_by_itself(settings, finished):
    config = Config("EchoMamba4Rec", "cycle", config_dict={**settings, **LEARNS})
    assert config.hash == finished["config_hash"]
