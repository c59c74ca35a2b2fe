import json
import shutil
from pathlib import Path

import pytest
import yaml
from packaging.version import Version
from recbole.trainer.hyper_tuning import HyperTuning

from recbole_echomamba import Trainer
from recbole_echomamba.__main__ import main
from recbole_echomamba.tuning.hyperopt_search import Search, append_line, read_trials
from recbole_echomamba.tuning.objective import Objective
from recbole_echomamba.tuning.search_space import Range
from tests.conftest import SMALL, replace_flags


def write(tmp_path, text):
    (tmp_path / "x.hyper").write_text(text)
    return tmp_path / "x.hyper"


def test_an_incomplete_last_line_is_dropped_and_the_others_stay(tmp_path):
    file = tmp_path / "trials.jsonl"
    append_line(file, {"params": {"a": 1}})
    with open(file, "a") as lines:
        lines.write('{"params": {"a"')
    assert read_trials(file) == [{"params": {"a": 1}}]
    append_line(file, {"params": {"a": 2}})
    assert read_trials(file) == [{"params": {"a": 1}}, {"params": {"a": 2}}]


CHOICES = {"x": Range("choice", [1, 2, 3]), "y": Range("choice", [0.1, 0.2])}
RANGES = {"x": Range("quniform", [1.0, 9.0, 1.0]), "y": Range("loguniform", [-6.0, -1.0])}


class Scores:
    """Replace training: return a score that follows from the settings, fail for one of them, or be killed at a given call."""

    def __init__(self, killed_at=None):
        self.killed_at = killed_at
        self.calls = []

    def __call__(self, params):
        if len(self.calls) + 1 == self.killed_at:
            raise KeyboardInterrupt
        self.calls.append(params)
        if params["x"] == 3 and params["y"] == 0.2:
            raise ValueError("NaN scores")
        score = params["x"] - params["y"]
        return {
            "best_valid_score": score,
            "valid_score_bigger": True,
            "best_valid_result": {},
            "model": "X",
            "epochs": 1,
            "seconds": 1.0,
        }


def search(file, objective, algo, evals=8, space=None):
    space = space or (CHOICES if algo == "exhaustive" else RANGES)
    found = Search(objective, space, file, algo, max_evals=evals, early_stop=100, seed=1)
    found.run()
    return found


@pytest.mark.parametrize("algo", ["exhaustive", "random", "bayes"])
def test_a_resumed_search_makes_the_trials_that_it_would_have_made(tmp_path, algo):
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


def test_recboles_own_exhaustive_search_cannot_draw_under_hyperopt_0_3(tmp_path):
    hyperopt = pytest.importorskip("hyperopt")
    if Version(hyperopt.__version__) < Version("0.2.6"):
        pytest.skip("RecBole's own works under this Hyperopt")
    nodes = {name: each.to_hyperopt(name) for name, each in CHOICES.items()}
    stock = HyperTuning(lambda params, files: Scores()(params), space=nodes, algo="exhaustive")
    with pytest.raises(AttributeError, match="integers"):
        stock.run()


def test_early_stopping_survives_a_first_trial_that_fails(tmp_path):
    pytest.importorskip("hyperopt")

    class Failing(Scores):
        def __call__(self, params):
            if not self.calls:
                self.calls.append(params)
                raise ValueError("NaN scores")
            return super().__call__(params)

    objective = Failing()
    found = Search(objective, RANGES, tmp_path / "t.jsonl", "random", max_evals=12, early_stop=6, seed=1)
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


FOUR_TRIALS = "learning_rate choice [0.02, 0.0001]\nhidden_size choice [8, 16]\n"


def make_command(data_path, out, space):
    model = ["--model=Mamba4Rec", "--dataset=cycle", "--tool=Hyperopt"]
    return ["tune", *model, f"--params_file={space}", *flags(data_path, out)]


def test_a_search_in_which_every_trial_fails_says_why(data_path, tmp_path, capsys):
    pytest.importorskip("hyperopt")
    space = write(tmp_path, "hidden_size choice [9, 7]\n")
    command = make_command(data_path, tmp_path / "out", space)
    assert main(replace_flags(command, "--model=SASRec", "--n_heads=2")) == 1
    assert "every trial failed: The hidden size" in capsys.readouterr().err


@pytest.fixture
def tests_made(monkeypatch):
    """The loaders on which the best weights are evaluated, as it happens: only a test loads the best weights."""
    made = []
    evaluate = Trainer.evaluate

    def record_and_evaluate(self, data, load_best_model=True, **more):
        if load_best_model:
            made.append(data)
        return evaluate(self, data, load_best_model=load_best_model, **more)

    monkeypatch.setattr(Trainer, "evaluate", record_and_evaluate)
    return made


@pytest.fixture(scope="module")
def finished(data_path, tmp_path_factory):
    """The folder of a finished search of four trials. Tests only read it."""
    pytest.importorskip("hyperopt")
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(make_command(data_path, folder / "out", write(folder, FOUR_TRIALS))) == 0
    return folder / "out"


@pytest.fixture
def out(finished, tmp_path):
    """A copy of the finished search that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def command(data_path, out, tmp_path):
    """The command that made the search in ``out``."""
    return make_command(data_path, out, write(tmp_path, FOUR_TRIALS))


def find_best(out):
    return max(read_trials(out / "trials.jsonl"), key=lambda trial: trial["best_valid_score"])


def read_result(out):
    """The result of the only run directory of a search."""
    (file,) = (out / "runs").glob("*/result.json")
    return json.loads(file.read_text())


def test_a_search_tests_only_the_best_settings_and_only_once(data_path, tmp_path, tests_made, capsys):
    pytest.importorskip("hyperopt")
    space = write(tmp_path, "learning_rate choice [0.02, 0.0001]\n")
    out = tmp_path / "out"
    assert main(make_command(data_path, out, space)) == 0
    assert len(tests_made) == 1
    assert "test" not in (out / "trials.jsonl").read_text() + (out / "trials.csv").read_text()
    assert len(read_trials(out / "trials.jsonl")) == 2
    assert f"--config_files={out / 'best.yaml'}" in capsys.readouterr().out


def test_a_search_writes_its_trials_and_the_best_settings(finished):
    assert len(read_trials(finished / "trials.jsonl")) == 4
    best = find_best(finished)
    settings = yaml.safe_load((finished / "best.yaml").read_text())
    assert (settings["model"], settings["dataset"], settings["epochs"]) == ("Mamba4Rec", "cycle", 1)
    assert {name: settings[name] for name in best["params"]} == best["params"]
    assert len((finished / "trials.csv").read_text().splitlines()) == 5
    (bold,) = [line for line in (finished / "trials.md").read_text().splitlines() if "**" in line]
    assert f"**{best['best_valid_score']:.4f}**" in bold
    assert (finished / "trials.png").read_bytes().startswith(b"\x89PNG")
    assert "The best of 4 trials has a validation NDCG@10 of" in (finished / "report.html").read_text()
    # the same seed, the same training
    assert read_result(finished)["best_valid_score"] == best["best_valid_score"]


def test_the_best_settings_make_the_same_run_again(finished, tmp_path):
    saved = tmp_path / "again"
    assert main(["run", f"--config_files={finished / 'best.yaml'}", f"--checkpoint_dir={saved}"]) == 0
    (again,) = saved.glob("*/result.json")
    assert json.loads(again.read_text())["config_hash"] == read_result(finished)["config_hash"]
    assert json.loads(again.read_text())["test_result"] == read_result(finished)["test_result"]


def test_a_search_is_not_overwritten_without_resume(command, capsys):
    assert main(command) == 1
    assert "holds this search already; resume it with --resume" in capsys.readouterr().err


def test_a_folder_with_another_search_is_refused(data_path, tmp_path, command, capsys):
    assert main([*command, "--d_conv=2", "--resume"]) == 1
    assert "another search, with different d_conv" in capsys.readouterr().err

    changed = Path(shutil.copytree(data_path, tmp_path / "changed"))
    with open(changed / "cycle" / "cycle.inter", "a") as rows:
        rows.write("u0\ti11\t99\n")
    other_data = [word.replace(f"--data_path={data_path}", f"--data_path={changed}") for word in command]
    assert main([*other_data, "--resume"]) == 1
    assert "another search, with different data" in capsys.readouterr().err


def test_a_search_with_another_tool_says_how_to_resume_it(command, capsys):
    assert main([*replace_flags(command, "--tool=Optuna"), "--resume"]) == 1
    assert "holds a search with Hyperopt; resume it with --tool=Hyperopt --resume" in capsys.readouterr().err


def test_a_finished_search_has_nothing_left_to_resume(out, command, tests_made, caplog):
    before = (out / "trials.csv").read_text()
    # a setting without effect on the result may change, and one that the search varies has none
    varied = FOUR_TRIALS.split()[0]
    assert main([*command, "--worker=0", f"--{varied}=0.5", "--resume"]) == 0
    assert f"setting '{varied}' has no effect: the search varies it" in caplog.text
    assert tests_made == []
    assert (out / "trials.csv").read_text() == before


def test_a_search_of_a_version_with_fewer_settings_and_other_defaults_is_the_same_search(out, command):
    description = json.loads((out / "search.json").read_text())
    description["settings"] |= {"train_negatives": 7, "negative_distribution": "uniform", "worker": 3}
    description["settings"].pop("lr_warmup", None)
    (out / "search.json").write_text(json.dumps(description))
    assert main([*command, "--resume"]) == 0


def test_a_search_interrupted_in_its_last_run_resumes_it(out, command):
    before = read_result(out)
    (file,) = (out / "runs").glob("*/result.json")
    file.unlink()
    assert main([*command, "--resume"]) == 0
    assert [path.name for path in (out / "runs").glob("[!.]*")] == [file.parent.name]
    assert read_result(out)["test_result"] == before["test_result"]


def test_a_trial_is_validated_only_and_keeps_no_weights(settings, tests_made, tmp_path):
    reported = []
    objective = Objective("Mamba4Rec", "cycle", [], settings)
    trial = objective({"learning_rate": 0.01}, after_epoch=reported.append)
    assert tests_made == []
    assert list((tmp_path / "saved").iterdir()) == []
    assert [each["epochs"] for each in reported] == [1, 2]
    assert reported[-1]["best_valid_score"] == trial["best_valid_score"]


def test_a_trial_that_is_never_validated_says_which_settings_to_change(settings):
    objective = Objective("Mamba4Rec", "cycle", [], {**settings, "eval_step": 0})
    with pytest.raises(ValueError, match="a trial was never validated; set eval_step to 1"):
        objective({})


BAD = {
    "unknown setting": ("hiden_size choice [3]", [], "hidden_size"),
    "no search space": (None, ["--params_file=gone.hyper"], "search space gone.hyper does not exist"),
    "range": ("dropout_prob uniform 0,0.5", ["--algo=exhaustive"], "dropout_prob has a range; use --algo=bayes"),
    "no trial": (None, ["--max_evals=0"], "max_evals must be at least 1"),
    "nothing held out": (None, ["--train_on=all"], "search with train_on=train"),
    "no folder for the table": (None, ["--output_file=gone/trials.md"], "--output_file: there is no folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_anything_runs(case, data_path, tmp_path, capsys):
    pytest.importorskip("hyperopt")
    text, more, fragment = BAD[case]
    file = write(tmp_path, text or "d_state choice [4]")
    assert main(replace_flags(make_command(data_path, "out", file), *more)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert fragment in last
    assert not Path("out").exists()


def test_a_tool_that_is_not_installed_is_named(data_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    file = write(tmp_path, "d_state choice [4]")
    assert main(make_command(data_path, "out", file)) == 1
    assert "Hyperopt is not installed; install it with pip install" in capsys.readouterr().err


def test_model_and_dataset_may_stand_in_a_config_file(data_path, tmp_path, capsys):
    pytest.importorskip("optuna")
    (tmp_path / "mine.yaml").write_text("model: Mamba4Rec\ndataset: cycle\n")
    file = write(tmp_path, "learning_rate choice [0.02]\n")
    command = ["tune", f"--config_files={tmp_path / 'mine.yaml'}", f"--params_file={file}"]
    assert main([*command, *flags(data_path, tmp_path / "out")]) == 0
    assert "Mamba4Rec on cycle" in capsys.readouterr().out


class Epochs:
    """Replace training: report a score for each of three epochs, or be killed after one of them."""

    def __init__(self, killed_after=None):
        self.killed_after = killed_after
        self.trained = 0

    def __call__(self, params, after_epoch):
        for epoch in range(1, 4):
            self.trained += 1
            after_epoch({"epochs": epoch, "best_valid_score": epoch / 10})
            if epoch == self.killed_after:
                raise KeyboardInterrupt


def test_a_trial_of_ray_reports_each_epoch_once_and_a_finished_one_is_not_trained_again(tmp_path):
    run_or_replay = pytest.importorskip("recbole_echomamba.tuning.ray_search").run_or_replay

    def train(params, objective):
        reported = []
        run_or_replay(objective, params, tmp_path, reported.append)
        return objective.trained, [result["epochs"] for result in reported]

    with pytest.raises(KeyboardInterrupt):
        train({"x": 1}, Epochs(killed_after=2))
    assert train({"x": 1}, Epochs()) == (3, [1, 2, 3])
    assert train({"x": 1}, Epochs()) == (0, [1, 2, 3])  # finished before
    assert train({"x": 2}, Epochs()) == (3, [1, 2, 3])  # other settings


def test_ray_searches_and_resumes_from_its_folder(data_path, tmp_path):
    ray = pytest.importorskip("ray")
    space = write(tmp_path, "learning_rate loguniform -5,-4\nhidden_size quniform 8,16,8\n")
    out = tmp_path / "out"
    command = replace_flags(make_command(data_path, out, space), "--tool=Ray", "--max_evals=2")
    try:
        assert main(command) == 0
        table = (out / "trials.csv").read_text()
        trials = sorted((out / "ray").glob("trial_*"))
        assert len(table.splitlines()) == 3
        assert len(trials) == 2
        assert main([*command, "--resume"]) == 0
    finally:
        ray.shutdown()
    # The table holds the seconds of each trial, so equal tables mean that no trial was trained again.
    assert (out / "trials.csv").read_text() == table
    assert sorted((out / "ray").glob("trial_*")) == trials
    assert isinstance(yaml.safe_load((out / "best.yaml").read_text())["hidden_size"], int)


@pytest.fixture
def two_nodes(second_address):
    """Return a Ray cluster of two nodes with one core each: this machine's own address and another one of its loopback."""
    ray = pytest.importorskip("ray")
    cluster = pytest.importorskip("ray.cluster_utils").Cluster()
    cluster.add_node(num_cpus=1, include_dashboard=False)
    cluster.add_node(num_cpus=1, node_ip_address=second_address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_both_nodes_of_a_ray_cluster_train_trials_of_a_search(two_nodes, second_address, data_path, tmp_path):
    space = write(tmp_path, "learning_rate loguniform -5,-4\n")
    more = ["--tool=Ray", "--max_evals=2", f"--ray-address={two_nodes.address}"]
    assert main(replace_flags(make_command(data_path, tmp_path / "out", space), *more)) == 0
    reports = [json.loads(file.read_text()) for file in (tmp_path / "out" / "ray").glob("trial_*/result.json")]
    assert {report["node_ip"] for report in reports} == {two_nodes.head_node.node_ip_address, second_address}
    assert len((tmp_path / "out" / "trials.csv").read_text().splitlines()) == 3
