import json
import shutil
from pathlib import Path

import pytest
import yaml

from recbole_echomamba import Trainer
from recbole_echomamba.__main__ import main
from recbole_echomamba.tuning.hyperopt_search import Search, append_line, read_trials
from recbole_echomamba.tuning.objective import Objective
from recbole_echomamba.tuning.search_space import Range
from tests.conftest import SMALL


def write(tmp_path, text):
    (tmp_path / "x.hyper").write_text(text)
    return tmp_path / "x.hyper"


def test_a_torn_line_is_forgotten_and_the_whole_ones_stay(tmp_path):
    file = tmp_path / "trials.jsonl"
    append_line(file, {"params": {"a": 1}})
    with open(file, "a") as lines:
        lines.write('{"params": {"a"')
    assert read_trials(file) == [{"params": {"a": 1}}]
    append_line(file, {"params": {"a": 2}})
    assert read_trials(file) == [{"params": {"a": 1}}, {"params": {"a": 2}}]


SPACE = {
    "x": Range("choice", [1, 2, 3]),
    "y": Range("choice", [0.1, 0.2]),
}
OPEN = {"x": Range("quniform", [1.0, 9.0, 1.0]), "y": Range("loguniform", [-6.0, -1.0])}


class Scores:
    """Instead of training: a score that follows from the settings; killed at a given call."""

    def __init__(self, killed_at=None):
        self.killed_at, self.calls = killed_at, []

    def __call__(self, params):
        if len(self.calls) + 1 == self.killed_at:
            raise KeyboardInterrupt
        self.calls.append(params)
        if params["x"] == 3 and params["y"] == 0.2:
            raise ValueError("NaN scores")
        score = params["x"] - params["y"]
        return {"best_valid_score": score, "valid_score_bigger": True, "best_valid_result": {}, "model": "X"}


def search(file, objective, algo, evals=8, space=None):
    space = space or (SPACE if algo == "exhaustive" else OPEN)
    found = Search(objective, space, file, algo, max_evals=evals, early_stop=100, seed=1)
    found.run()
    return found


@pytest.mark.parametrize("algo", ["exhaustive", "random", "bayes"])
def test_a_killed_search_makes_the_trials_it_would_have_made(tmp_path, algo):
    pytest.importorskip("hyperopt")
    whole = search(tmp_path / "whole.jsonl", Scores(), algo)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "killed.jsonl", Scores(killed_at=4), algo)
    resumed = Scores()
    again = search(tmp_path / "killed.jsonl", resumed, algo)
    assert again.trials == whole.trials
    assert len(resumed.calls) == len(whole.trials) - 3
    assert again.best_params == whole.best_params
    nothing = Scores()
    search(tmp_path / "killed.jsonl", nothing, algo)
    assert nothing.calls == []


def test_an_exhaustive_search_tries_every_combination_once_and_survives_one_that_fails(tmp_path):
    pytest.importorskip("hyperopt")
    scores = Scores()
    found = search(tmp_path / "t.jsonl", scores, "exhaustive")
    assert sorted((p["x"], p["y"]) for p in scores.calls) == [(x, y) for x in (1, 2, 3) for y in (0.1, 0.2)]
    failed = [trial for trial in found.trials if trial["best_valid_score"] is None]
    assert [(trial["params"], trial["error"]) for trial in failed] == [({"x": 3, "y": 0.2}, "NaN scores")]
    assert found.best_score == pytest.approx(2.9)


def test_early_stopping_survives_a_first_trial_that_fails(tmp_path):
    pytest.importorskip("hyperopt")

    class Failing(Scores):
        def __call__(self, params):
            if not self.calls:
                self.calls.append(params)
                raise ValueError("NaN scores")
            return super().__call__(params)

    objective = Failing()
    found = Search(objective, OPEN, tmp_path / "t.jsonl", "random", max_evals=12, early_stop=6, seed=1)
    found.run()
    assert len(objective.calls) > 6


def test_choices_may_be_lists(tmp_path):
    pytest.importorskip("hyperopt")
    scores = Scores()
    space = {"x": Range("choice", [1, 2]), "y": Range("choice", [0.1]), "topk": Range("choice", [[5, 10], [10, 20]])}
    found = search(tmp_path / "t.jsonl", scores, "exhaustive", space=space)
    assert sorted((p["x"], *p["topk"]) for p in scores.calls) == [(1, 5, 10), (1, 10, 20), (2, 5, 10), (2, 10, 20)]
    assert found.best_params["x"] == 2


def flags(data_path, out, *more):
    settings = {**SMALL, "epochs": 1, "data_path": data_path}
    return [*(f"--{key}={value}" for key, value in settings.items()), f"--out={out}", *more]


def test_a_search_in_which_every_trial_fails_says_why(data_path, tmp_path, capsys):
    pytest.importorskip("hyperopt")
    file = write(tmp_path, "hidden_size choice [9, 7]\n")
    command = [
        "tune",
        "--model=SASRec",
        "--dataset=cycle",
        f"--params_file={file}",
        *flags(data_path, tmp_path / "out"),
    ]
    assert main([*command, "--n_heads=2"]) == 1
    assert "every trial failed: The hidden size" in capsys.readouterr().err


@pytest.fixture
def tests_made(monkeypatch):
    """The evaluations of the best weights: only the test asks for these."""
    made, evaluate = [], Trainer.evaluate

    def counted(self, data, load_best_model=True, **more):
        made.extend([data] if load_best_model else [])
        return evaluate(self, data, load_best_model=load_best_model, **more)

    monkeypatch.setattr(Trainer, "evaluate", counted)
    return made


def test_a_search_ends_with_one_test_a_yaml_and_a_report(data_path, tmp_path, capsys, tests_made):
    pytest.importorskip("hyperopt")
    file = write(tmp_path, "learning_rate choice [0.02, 0.0001]\nhidden_size choice [8, 16]\n")
    out = tmp_path / "out"
    command = ["tune", "--model=Mamba4Rec", "--dataset=cycle", f"--params_file={file}", *flags(data_path, out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert len(tests_made) == 1
    trials = read_trials(out / "trials.jsonl")
    assert len(trials) == 4
    assert "test" not in (out / "trials.jsonl").read_text() + (out / "trials.csv").read_text()
    best = max(trials, key=lambda trial: trial["best_valid_score"])
    settings = yaml.safe_load((out / "best.yaml").read_text())
    assert (settings["model"], settings["dataset"], settings["epochs"]) == ("Mamba4Rec", "cycle", 1)
    assert {name: settings[name] for name in best["params"]} == best["params"]
    assert len((out / "trials.csv").read_text().splitlines()) == 5
    assert (out / "trials.md").read_text().count("**") > 0
    assert (out / "trials.png").read_bytes().startswith(b"\x89PNG")
    (result,) = (json.loads(file.read_text()) for file in (out / "runs").glob("*/result.json"))
    assert result["best_valid_score"] == best["best_valid_score"]  # the same seed, the same training
    assert f"--config_files={out / 'best.yaml'}" in printed

    assert main(command) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--d_conv=2", "--resume"]) == 1
    assert "another search, with different d_conv" in capsys.readouterr().err
    assert main([*command, "--worker=0", "--resume"]) == 0  # nothing is left to do
    assert len(tests_made) == 1
    (killed,) = (out / "runs").glob("*/result.json")
    killed.unlink()
    assert main([*command, "--resume"]) == 0
    assert len(list((out / "runs").iterdir())) == 1  # the run went on in its own folder
    assert json.loads(killed.read_text())["test_result"] == result["test_result"]

    assert main(["run", f"--config_files={out / 'best.yaml'}", f"--checkpoint_dir={tmp_path / 'again'}"]) == 0
    (again,) = (tmp_path / "again").glob("*/result.json")
    assert json.loads(again.read_text())["config_hash"] == result["config_hash"]

    changed = Path(shutil.copytree(data_path, tmp_path / "changed"))
    with open(changed / "cycle" / "cycle.inter", "a") as rows:
        rows.write("u0\ti11\t99\n")
    moved = [word.replace(f"--data_path={data_path}", f"--data_path={changed}") for word in command]
    assert main([*moved, "--resume"]) == 1
    assert "another search, with different data" in capsys.readouterr().err


def test_a_trial_is_validated_only_and_keeps_no_weights(settings, tests_made, tmp_path):
    standing = []
    objective = Objective("Mamba4Rec", "cycle", [], settings)
    trial = objective({"learning_rate": 0.01}, after_epoch=standing.append)
    assert tests_made == []
    assert list((tmp_path / "saved").iterdir()) == []
    assert [each["epochs"] for each in standing] == [1, 2]
    assert standing[-1]["best_valid_score"] == trial["best_valid_score"]


BAD = {
    "setting": ("hiden_size choice [3]", [], "hidden_size"),
    "file": (None, ["--params_file=gone.hyper"], "gone.hyper"),
    "range": ("dropout_prob uniform 0,0.5", [], "exhaustive"),
    "no trial": (None, ["--max_evals=0"], "max_evals"),
    "nothing held out": (None, ["--train_on=all"], "train_on"),
    "no folder for the table": (None, ["--output_file=gone/trials.md"], "no folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, data_path, tmp_path, capsys):
    pytest.importorskip("hyperopt")
    text, more, word = BAD[case]
    file = write(tmp_path, text or "d_state choice [4]")
    command = ["tune", "--model=Mamba4Rec", "--dataset=cycle", f"--params_file={file}", *flags(data_path, "out"), *more]
    assert main(command) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert word in last
    assert not Path("out").exists()


def test_a_tool_that_is_not_installed_is_named(data_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    file = write(tmp_path, "d_state choice [4]")
    assert (
        main(["tune", "--model=Mamba4Rec", "--dataset=cycle", f"--params_file={file}", *flags(data_path, "out")]) == 1
    )
    assert "Hyperopt is not installed; pip install" in capsys.readouterr().err


def test_model_and_data_set_may_stand_in_a_config_file(data_path, tmp_path, capsys):
    pytest.importorskip("hyperopt")
    (tmp_path / "mine.yaml").write_text("model: Mamba4Rec\ndataset: cycle\n")
    file = write(tmp_path, "learning_rate choice [0.02]\n")
    command = ["tune", f"--config_files={tmp_path / 'mine.yaml'}", f"--params_file={file}"]
    assert main([*command, *flags(data_path, tmp_path / "out")]) == 0
    assert "Mamba4Rec on cycle" in capsys.readouterr().out


class Epochs:
    """Instead of training: a score per epoch; killed after a given one."""

    def __init__(self, killed_after=None):
        self.killed_after, self.made = killed_after, 0

    def __call__(self, params, after_epoch):
        for epoch in range(1, 4):
            self.made += 1
            after_epoch({"epochs": epoch, "best_valid_score": epoch / 10})
            if epoch == self.killed_after:
                raise KeyboardInterrupt


def test_a_trial_of_ray_reports_each_epoch_once_and_a_finished_one_is_not_trained_again(tmp_path):
    run_or_replay = pytest.importorskip("recbole_echomamba.tuning.ray_search").run_or_replay
    with pytest.raises(KeyboardInterrupt):
        run_or_replay(Epochs(killed_after=2), {"x": 1}, tmp_path, lambda standing: None)
    for made in (3, 0):  # in its second life it trains, in the third all is known
        again, reported = Epochs(), []
        run_or_replay(again, {"x": 1}, tmp_path, lambda standing, to=reported: to.append(standing["epochs"]))
        assert reported == [1, 2, 3]
        assert again.made == made
    other, reported = Epochs(), []
    run_or_replay(other, {"x": 2}, tmp_path, reported.append)
    assert other.made == 3


def test_ray_searches_and_goes_on_from_its_folder(data_path, tmp_path, capsys):
    ray = pytest.importorskip("ray")
    file = write(tmp_path, "learning_rate loguniform -5,-4\nhidden_size quniform 8,16,8\n")
    command = ["tune", "--tool=Ray", "--model=Mamba4Rec", "--dataset=cycle", f"--params_file={file}", "--max_evals=2"]
    command += flags(data_path, tmp_path / "out")
    try:
        assert main(command) == 0
        table = (tmp_path / "out" / "trials.csv").read_text()
        made = sorted((tmp_path / "out" / "ray").glob("trial_*"))
        assert len(table.splitlines()) == 3
        assert main([*command, "--resume"]) == 0
    finally:
        ray.shutdown()
    assert (
        tmp_path / "out" / "trials.csv"
    ).read_text() == table  # with the seconds of the first time: nothing ran again
    assert sorted((tmp_path / "out" / "ray").glob("trial_*")) == made
    assert isinstance(yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())["hidden_size"], int)
