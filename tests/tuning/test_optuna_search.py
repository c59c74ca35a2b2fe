"""A search with Optuna keeps its trials in a journal, goes on with them, and trains no settings twice."""

import json
import multiprocessing
import os
import signal

import pytest

from recbole_echomamba.cli import main
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.tuning.optuna_search import Search
from recbole_echomamba.tuning.search_space import Range
from tests.conftest import SMALL

CHOICES = {"x": Range("choice", [1, 2, 3]), "y": Range("choice", [[0.1], [0.2]])}
RANGES = {
    "x": Range("uniform", [-3.0, 3.0]),
    "n": Range("quniform", [1.0, 9.0, 2.0]),
    "r": Range("loguniform", [-9.0, 0.0]),
}


class Objective:
    """Score settings without training; ``stop_at`` is the call that Ctrl-C ends."""

    def __init__(self, score, stop_at=None):
        self.score = score
        self.calls = []
        self.stop_at = stop_at

    def __call__(self, params, after_epoch):
        self.calls.append(params)
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        for epoch in range(1, 4):
            score = self.score(params)
            after_epoch(
                {"best_valid_score": score * epoch / 3, "best_valid_result": {}, "epochs": epoch, "seconds": 1.0}
            )
        return {"best_valid_score": score, "best_valid_result": {}, "epochs": 3, "seconds": 1.0, "model": "X"}


def make_search(folder, objective, space, algo="bayes", max_evals=20, early_stop=100, maximize=True, seed=1):
    return Search(objective, space, folder, algo, max_evals, early_stop, seed, maximize)


def peak(params):
    return 10 - (params["x"] - 1) ** 2


@pytest.mark.parametrize("algo", ["exhaustive", "random"])
def test_no_combination_of_choices_is_drawn_twice(tmp_path, algo):
    objective = Objective(lambda params: params["x"] + params["y"][0])
    for _ in range(2):  # the second time nothing is left
        search = make_search(tmp_path, objective, CHOICES, algo)
        search.run()
    assert len(objective.calls) == len(search.trials) == 6
    assert all(objective.calls.count(params) == 1 for params in objective.calls)
    assert max(search.trials, key=lambda trial: trial["best_valid_score"])["params"] == {"x": 3, "y": [0.2]}


def test_a_random_search_makes_as_many_trials_as_asked_for(tmp_path):
    objective = Objective(lambda params: 1.0)
    make_search(tmp_path, objective, CHOICES, "random", max_evals=4).run()
    assert len(objective.calls) == 4


@pytest.mark.parametrize("maximize", [True, False])
def test_bayes_finds_the_best_settings(tmp_path, maximize):
    objective = Objective(peak if maximize else lambda params: -peak(params))
    search = make_search(tmp_path, objective, RANGES, max_evals=40, maximize=maximize)
    search.run()
    choose = max if maximize else min
    assert choose(search.trials, key=lambda trial: trial["best_valid_score"])["params"]["x"] == pytest.approx(
        1, abs=0.5
    )
    for params in objective.calls:
        assert params["n"] in (1, 3, 5, 7, 9)
        assert -3 <= params["x"] <= 3
        assert 0.0001 < params["r"] <= 1


def test_weak_trials_end_early_and_keep_what_they_reached(tmp_path):
    search = make_search(tmp_path, Objective(peak), RANGES, max_evals=30)
    search.run()
    pruned = [trial for trial in search.trials if trial.get("pruned")]
    assert pruned
    assert all(trial["epochs"] < 3 and trial["best_valid_score"] < 10 for trial in pruned)


@pytest.mark.parametrize("algo", ["exhaustive", "random", "bayes"])
def test_an_interrupted_search_goes_on_and_repeats_only_the_interrupted_trial(tmp_path, algo):
    interrupted = Objective(lambda params: params["x"], stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        make_search(tmp_path, interrupted, CHOICES, algo, max_evals=6).run()
    resumed = Objective(lambda params: params["x"])
    search = make_search(tmp_path, resumed, CHOICES, algo, max_evals=6)
    search.run()
    assert resumed.calls[0] == interrupted.calls[2]
    assert not [params for params in resumed.calls if params in interrupted.calls[:2]]
    assert len(search.trials) == 6
    again = Objective(lambda params: params["x"])
    make_search(tmp_path, again, CHOICES, algo, max_evals=6).run()
    assert again.calls == []


def test_locks_of_killed_workers_are_removed(tmp_path):
    (tmp_path / ".worker-0123456789abcdef.lock").touch()
    make_search(tmp_path, Objective(peak), CHOICES, "random", max_evals=1).run()
    assert not list(tmp_path.glob("*.lock"))


def test_two_processes_share_the_trials_of_a_search(tmp_path):
    first, second = (Objective(lambda params: params["x"]) for _ in range(2))
    make_search(tmp_path, first, CHOICES, "random", max_evals=3).run()
    search = make_search(tmp_path, second, CHOICES, "random", max_evals=6, seed=2)
    search.run()
    assert len(first.calls) + len(second.calls) == len(search.trials) == 6
    assert not [params for params in second.calls if params in first.calls]


def test_a_further_process_makes_other_proposals(tmp_path):
    first, second = (Objective(peak) for _ in range(2))
    make_search(tmp_path, first, RANGES, "random", max_evals=3).run()
    make_search(tmp_path, second, RANGES, "random", max_evals=6).run()
    assert len(second.calls) == 3
    assert not [params for params in second.calls if params in first.calls]


def kill_during(folder, algo):
    search = make_search(folder, Objective(lambda params: params["x"]), CHOICES, algo, max_evals=6)
    search._objective = lambda params, report: os.kill(os.getpid(), signal.SIGKILL)
    search.run()


@pytest.mark.parametrize("algo", ["exhaustive", "random"])
def test_a_trial_of_a_killed_process_is_made_again(tmp_path, algo):
    process = multiprocessing.get_context("fork").Process(target=kill_during, args=(tmp_path, algo))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    objective = Objective(lambda params: params["x"])
    search = make_search(tmp_path, objective, CHOICES, algo, max_evals=6)
    search.run()
    assert len(search.trials) == len(objective.calls) == 6
    assert all(objective.calls.count(params) == 1 for params in objective.calls)
    assert not list(tmp_path.glob(".worker-*"))


def test_settings_that_cannot_be_trained_are_a_failed_trial(tmp_path):
    def score(params):
        if params["x"] == 2:
            raise UserError("x is 2")
        return params["x"]

    search = make_search(tmp_path, Objective(score), CHOICES, "exhaustive")
    search.run()
    failed = [trial for trial in search.trials if trial["best_valid_score"] is None]
    assert [trial["error"] for trial in failed] == ["x is 2"] * 2
    assert len(search.trials) == 6


@pytest.mark.parametrize(("algo", "space"), [("random", RANGES), ("exhaustive", CHOICES)])
def test_the_search_stops_after_trials_without_a_better_one(algo, space, tmp_path):
    objective = Objective(lambda params: 1.0)
    make_search(tmp_path, objective, space, algo, max_evals=50, early_stop=4).run()
    assert len(objective.calls) == 5


@pytest.mark.parametrize(("space", "algo"), [("choice [0.001,0.02]", "exhaustive"), ("uniform 0.001,0.02", "bayes")])
def test_the_command_searches_choices_and_ranges_and_resumes(space, algo, data_path, capsys, tmp_path):
    (tmp_path / "s.hyper").write_text(f"learning_rate {space}\n")
    settings = [f"--{key}={value}" for key, value in {**SMALL, "epochs": 1, "data_path": data_path}.items()]
    command = [
        "tune",
        "--model=Mamba4Rec",
        "--dataset=cycle",
        "--params_file=s.hyper",
        "--max_evals=2",
        "--out=o",
        *settings,
    ]
    assert main(command) == 0
    assert "best.yaml" in capsys.readouterr().out
    table = (tmp_path / "o" / "trials.csv").read_text()
    assert len(table.splitlines()) == 3
    assert json.loads((tmp_path / "o" / "search.json").read_text())["algo"] == algo
    assert main([*command, "--resume"]) == 0
    assert (tmp_path / "o" / "trials.csv").read_text() == table
