import json
from pathlib import Path

import pytest
import yaml

from recbole_echomamba import Trainer
from recbole_echomamba.__main__ import main
from recbole_echomamba.search_space import Range, read_space
from recbole_echomamba.tuning import Objective, Search, append_line, plain, read_trials
from tests.conftest import SMALL


def write(tmp_path, text):
    (tmp_path / "x.hyper").write_text(text)
    return tmp_path / "x.hyper"


def test_a_hyper_file_is_read_as_recbole_writes_it(tmp_path):
    text = """# a comment
learning_rate choice [0.01, 0.001]
loss_type choice ['CE','BPR']   # another

dropout_prob uniform 0.0,0.5
weight_decay loguniform -8, 0
hidden_size quniform 16,64,16
"""
    assert read_space(write(tmp_path, text)) == {
        "learning_rate": Range("choice", [0.01, 0.001]),
        "loss_type": Range("choice", ["CE", "BPR"]),
        "dropout_prob": Range("uniform", [0.0, 0.5]),
        "weight_decay": Range("loguniform", [-8.0, 0.0]),
        "hidden_size": Range("quniform", [16.0, 64.0, 16.0]),
    }


@pytest.mark.parametrize(
    "line",
    [
        "epochs choice __import__('os').getcwd()",
        "epochs choice [open('evaluated','w')]",
        *(
            "epochs choice []",
            "epochs choice 3",
            "epochs normal 0,1",
            "epochs uniform 1",
            "epochs uniform 2,1",
            "epochs",
        ),
    ],
)
def test_a_line_that_is_no_literal_is_named_and_never_evaluated(tmp_path, line):
    with pytest.raises(ValueError, match=r"x\.hyper, line 2: cannot read .epochs"):
        read_space(write(tmp_path, f"d_state choice [4]\n{line}\n"))
    assert not Path("evaluated").exists()


def test_a_missing_or_empty_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.hyper.*--params_file"):
        read_space("gone.hyper")
    with pytest.raises(ValueError, match="names no setting"):
        read_space(write(tmp_path, "# nothing\n"))


def test_our_models_have_a_file_of_their_own_settings():
    from recbole_echomamba import Config
    from recbole_echomamba.host.config import properties_directory

    for model in ("EchoMamba4Rec", "Mamba4Rec"):
        for name, each in read_space(properties_directory() / "hyper" / f"{model}.hyper").items():
            assert Config(model, "ml-100k")[name] in each.values  # the published value is among them


def test_a_torn_line_is_forgotten_and_the_whole_ones_stay(tmp_path):
    file = tmp_path / "trials.jsonl"
    append_line(file, {"params": {"a": 1}})
    with open(file, "a") as lines:
        lines.write('{"params": {"a"')
    assert read_trials(file) == [{"params": {"a": 1}}]
    append_line(file, {"params": {"a": 2}})
    assert read_trials(file) == [{"params": {"a": 1}}, {"params": {"a": 2}}]


def test_whole_numbers_stay_whole():
    assert plain({"a": 16.0, "b": 0.5, "c": (1, 2), "d": 0.0}) == {"a": 16, "b": 0.5, "c": [1, 2], "d": 0.0}


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


def flags(data_path, out, *more):
    settings = {**SMALL, "epochs": 1, "data_path": data_path}
    return [*(f"--{key}={value}" for key, value in settings.items()), f"--out={out}", *more]


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
    assert yaml.safe_load((out / "best.yaml").read_text()) == best["params"]
    assert len((out / "trials.csv").read_text().splitlines()) == 5
    assert (out / "trials.md").read_text().count("**") > 0
    assert (out / "trials.png").read_bytes().startswith(b"\x89PNG")
    (result,) = (json.loads(file.read_text()) for file in (out / "runs").glob("*/result.json"))
    assert result["best_valid_score"] == best["best_valid_score"]  # the same seed, the same training
    assert f"--config_files={out / 'best.yaml'}" in printed

    assert main(command) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--d_conv=2", "--resume"]) == 1
    assert "another search (other settings)" in capsys.readouterr().err


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
