"""The benchmarks run; what they measure is not tested."""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import (
    ablations,
    learning_curve,
    models,
    paired_test,
    race_report,
    scaling,
    scan,
    search,
    serving,
    time_to_accuracy,
    timing,
    versions,
)
from benchmarks.contenders import Catalogue, draw_histories
from recbole_echomamba import Config
from recbole_echomamba.ops import dispatch
from tests.conftest import HISTORY, USERS


def test_models_are_measured_with_their_ratio_to_sasrec_and_kept_as_json():
    parser = models.make_parser("", shapes=["2x8"], repetitions=2)
    flags = ["--models", "SASRec", "EchoMamba4Rec (full scan)", "--device=cpu", "--json=figures.json"]
    threads = torch.get_num_threads()
    figures = models.measure("training step", "train_step", parser.parse_args([*flags, f"--threads={threads}"]))
    assert [(entry["model"], entry["batch"], entry["length"], len(entry["seconds"])) for entry in figures] == [
        ("SASRec", 2, 8, 2),
        ("EchoMamba4Rec (full scan)", 2, 8, 2),
    ]
    assert figures[0]["ratio"] == 1
    with open("figures.json") as file:
        kept = json.load(file)
    assert kept["figures"] == figures
    assert kept["options"]["threads"] == threads


def test_the_scan_is_measured_with_every_backend_that_can_run_here():
    calls = scan.make_calls(2, 4, 4, 2, "cpu")
    able = [name for name in dispatch.BACKENDS if dispatch.why_not(name, "cpu") is None]
    assert "reference" in able
    assert list(calls) == [f"{name}, {form}" for name in able for form in ("last position", "all positions")]
    for call in calls.values():
        call()


@pytest.mark.parametrize("tool", ["Optuna", "Hyperopt"])
def test_a_search_ends_with_its_budget_of_epochs(tool, tmp_path, monkeypatch):
    pytest.importorskip(tool.lower())

    def train(params, after_epoch):
        for epoch in range(1, 4):
            after_epoch({"best_valid_score": params["dropout_prob"] * epoch, "epochs": epoch})
        score = params["dropout_prob"] * 3
        return {
            "model": "X",
            "best_valid_score": score,
            "valid_score_bigger": True,
            "best_valid_result": {},
            "seconds": 1,
        }

    monkeypatch.setattr(search, "Objective", lambda *arguments: train)
    figures = search.search(tool, 1, argparse.Namespace(model="X", epochs=3, budget=16), tmp_path)
    assert figures["best"] == sorted(figures["best"])
    assert figures["trials"] >= 6
    assert "| mean | " in search.tabulate([figures])


def test_serving_is_measured_for_untrained_runs_and_their_exports(monkeypatch, capsys):
    flags = ["--models", "SASRec", "Mamba4Rec", "--items=20", "--length=8", "--repetitions=2", "--users=9", "--calls=3"]
    monkeypatch.setattr("sys.argv", ["serving", *flags, f"--threads={torch.get_num_threads()}"])
    serving.main()
    one, many = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in one.splitlines()[-2:]] == ["SASRec", "Mamba4Rec"]
    assert len(one.splitlines()[-1].split()) == 6
    assert [line.split()[0] for line in many.splitlines()[-2:]] == ["SASRec", "Mamba4Rec"]


def test_scaling_is_plotted(tmp_path):
    figures = [{"model": "SASRec", "length": length, "median": length / 100} for length in (50, 100)]
    timing.write_plot(str(tmp_path / "plot.svg"), lambda path: scaling.plot(figures, path))
    assert "<svg" in (tmp_path / "plot.svg").read_text()


@pytest.fixture
def sizes_command(tmp_path, monkeypatch):
    """A function that runs ``benchmarks.sizes`` at a small scale, and the stages that it has measured."""
    from benchmarks.sizes import __main__ as sizes
    from benchmarks.sizes import stages

    ran = []

    def measure(stage, job):
        ran.append((job.name, stage))
        return stages._measure_here(stage, job)

    monkeypatch.setattr(sizes, "measure", measure)
    monkeypatch.setattr(stages, "STEPS", 2)
    monkeypatch.setitem(stages.SAMPLED, "train_negatives", 50)

    def run(*flags):
        command = ["sizes", f"--folder={tmp_path}", "--json=sizes.json", "--scale=0.0002", *flags]
        monkeypatch.setattr("sys.argv", command)
        sizes.main()

    return run, ran


def test_sizes_go_from_raw_files_to_metrics_and_go_on_where_they_stopped(sizes_command, capsys, tmp_path):
    run, ran = sizes_command
    run("--rows", "tmall")
    stages = ["prepare", "first start", "second start", "step", "validation", "recommendation"]
    assert ran == [("tmall", stage) for stage in stages]
    found = {figure["stage"]: figure for figure in json.loads(Path("sizes.json").read_text())["figures"]}
    assert found["second start"]["interactions"] == found["first start"]["interactions"] == 8906
    assert found["validation"]["users"] > 100
    assert 0 <= found["validation"]["ndcg@10"] < 1
    assert found["recommendation"]["users"] > 100
    assert not (tmp_path / "tmall").exists()
    assert not (tmp_path / "generated" / "tmall").exists()
    run("--rows", "tmall")
    assert len(ran) == len(stages)
    assert "hours an epoch" in capsys.readouterr().out
    with pytest.raises(
        SystemExit, match=r"sizes\.json was measured with scale=0\.0002; name another file with --json$"
    ):
        run("--scale=0.5")
    Path("sizes.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"sizes\.json holds no figures of this benchmark"):
        run()
    for flags, message in (
        (["--scale=2"], "--scale must be"),
        (["--ml-1m=nowhere"], "nowhere does not exist"),
        (["--all-items"], "--all-items: ml-1m has 3706 items, but 200 events"),
    ):
        with pytest.raises(SystemExit):
            run(*flags)
        assert message in capsys.readouterr().err


def test_generated_logs_are_read_in_the_layout_of_each_benchmark(tmp_path, capfd):
    from benchmarks.sizes.raw_logs import WRITERS, Size
    from dataset_prep.__main__ import main

    for name, write in WRITERS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name, Size(users=30, items=40, pairs=600, events=900))
        flags = {"tmall": ["--action=all"], "lfm-1b": ["--dedup=keep-first"]}.get(name, [])
        assert main([name, "--raw", str(tmp_path / name), "--out", "out", *flags]) == 0
        events = pd.read_csv(f"out/{name}/{name}.inter", sep="\t")
        assert events["user_id:token"].nunique() == 30
        assert events["item_id:token"].nunique() == 40
        assert 500 < len(events) <= 600


def test_learning_curve_counts_the_seconds_of_training_but_not_of_measuring(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.process_time", lambda: clock[0])
    monkeypatch.setattr("time.perf_counter", lambda: 2 * clock[0])

    def rank_targets():
        clock[0] += 50
        return np.array([1, 3, 11, np.inf]), np.array([1, 1, 1, 1])

    curve = learning_curve.LearningCurve(tmp_path / "curve.jsonl", {"contender": "A"}, 4, 10, rank_targets)
    curve.start()
    spent = []
    for _ in range(4):
        clock[0] += 3
        spent.append(curve.end_step())
    curve.end_epoch()
    curve.finish("budget")
    assert spent == [False, False, False, True]
    header, *points, done = time_to_accuracy.read_curve(curve.path)
    assert header == {"contender": "A"}
    # due at 4, at 8 and at the end of the budget; the end of the epoch is the step that has just been measured
    assert [(point["steps"], point["cpu"], point["wall"]) for point in points] == [(2, 6, 12), (3, 9, 18), (4, 12, 24)]
    assert {(point["ndcg"], point["ndcg_unseen"]) for point in points} == {(0.375, 1.0)}
    assert done == {"done": "budget", "epochs": 1, "steps": 4}


def test_race_trains_each_contender_once_and_reports_both_protocols(data_path, capsys):
    flags = ["--dataset=cycle", f"--data_path={data_path}", "--budget=0.5", "--every=0.2", "--epochs=3", "--out=race"]
    contenders = ["Mamba4Rec all positions, times", "RecBole GRU4Rec"]
    time_to_accuracy.main([*flags, "--contenders", *contenders])
    first = {path.name: path.read_text() for path in Path("race").glob("*.jsonl")}
    assert sorted(first) == ["mamba4rec-all-positions-times.jsonl", "recbole-gru4rec.jsonl"]
    scheduled, endless = (time_to_accuracy.read_curve(Path("race", name)) for name in sorted(first))
    assert scheduled[-1]["done"] in ("epochs", "budget")
    assert endless[-1]["done"] == "budget"
    assert endless[-2]["cpu"] >= 0.5
    for curve in (scheduled, endless):
        points = curve[1:-1]
        assert [point["cpu"] for point in points] == sorted(point["cpu"] for point in points)
        # items of the history can only stand in the way of the target
        assert all(point["ndcg"] <= point["ndcg_unseen"] for point in points)
    assert all(name in Path("race/race.md").read_text() for name in contenders)
    assert Path("race/race.png").read_bytes().startswith(b"\x89PNG")

    capsys.readouterr()
    time_to_accuracy.main([*flags, "--contenders", *contenders])
    assert {path.name: path.read_text() for path in Path("race").glob("*.jsonl")} == first
    assert capsys.readouterr().out.count(": complete") == 2
    with pytest.raises(SystemExit, match="is from another race"):
        time_to_accuracy.main([*flags, "--seed=7", "--contenders", contenders[0]])


def test_race_exports_the_parts_that_our_models_train_and_validate_on(data_path, tmp_path):
    options = time_to_accuracy.make_parser().parse_args(["--dataset=cycle", f"--data_path={data_path}"])
    time_to_accuracy.export_interactions(options, tmp_path / "interactions.csv")
    rows = pd.read_csv(tmp_path / "interactions.csv")
    assert len(rows) == USERS * HISTORY
    assert rows["datetime"].is_monotonic_increasing
    for _, user in rows.groupby("user_id"):
        assert user["part"].tolist() == ["train"] * (HISTORY - 2) + ["valid", "test"]


def test_race_table_shows_the_first_measurement_that_reaches_a_level():
    points = [
        {"cpu": 10 * n, "wall": 20 * n, "epochs": n, "ndcg": value} for n, value in enumerate([0.05, 0.13, 0.11], 1)
    ]
    table = race_report.make_table({"A": [{}, *points, {"done": "budget"}]}, "ndcg", [0.1, 0.12, 0.2])
    assert table.rows == [["A", "20 (40)", "20 (40)", "", "0.1300", "20 (40)", "3"]]


def test_the_metrics_of_two_sets_of_versions_are_compared(capsys):
    versions.main(["--models", "KSR", "SASRec", "--json=one.json"])
    one = json.loads(Path("one.json").read_text())
    # a model that reads knowledge trains, too
    assert one["models"]["KSR"]["loss"] > 0
    assert one["versions"]["numpy"] == np.__version__
    other = {"versions": {**one["versions"], "numpy": "0"}, "models": {**one["models"], "SASRec": "ValueError: x"}}
    Path("other.json").write_text(json.dumps(other))
    capsys.readouterr()
    versions.main(["--compare", "one.json", "other.json"])
    lines = capsys.readouterr().out.splitlines()
    assert f"| numpy | {np.__version__} | 0 |" in lines
    (ksr,) = [line for line in lines if line.startswith("| KSR |")]
    assert ksr.endswith("| yes |")
    assert "| SASRec | | | trained | ValueError: x | **no** |" in lines


def test_the_attack_prints_its_table_and_keeps_its_outcomes(tmp_path, monkeypatch, capsys):
    from benchmarks.attack import __main__ as attack

    monkeypatch.setitem(attack.ATTACKS, "corruption", (attack.corruption.attack, 9))
    monkeypatch.setattr("sys.argv", ["attack", "--only", "corruption", "--minutes=2", f"--json={tmp_path / 'a.json'}"])
    assert attack.main() == 0
    printed = capsys.readouterr().out
    assert "| a damaged file of a run is named when it is read | 3 | 3 | 0 | 0 | 0 |" in printed
    kept = json.loads((tmp_path / "a.json").read_text())
    assert [promise["survived"] for promise in kept["promises"]] == [3, 3, 3]


@pytest.mark.parametrize(("name", "part"), [("NoFilter", "filter"), ("NoBackward", "backward")])
def test_an_ablation_encodes_histories_without_its_part(name, part):
    config = Config(f"{ablations.__file__}:{name}", "ml-100k", config_dict={"MAX_ITEM_LIST_LENGTH": 6, "causal": True})
    model = config.model_class(config, Catalogue()).eval()
    assert not [parameter for parameter, _ in model.named_parameters() if part in parameter]
    batch = draw_histories(3, 6)
    at_end = model.encode(batch["item_id_list"], batch["item_length"])
    everywhere = model.encode_all(batch["item_id_list"])[torch.arange(3), batch["item_length"] - 1]
    torch.testing.assert_close(at_end, everywhere, rtol=1e-4, atol=1e-5)


def test_groups_of_runs_are_tested_against_the_first(tmp_path):
    ranks = {"a1": [1, 1, 1, 1], "a2": [1, 1, 1, 2], "b1": [2, 2, 50, 1], "b2": [2, 3, 50, 1]}
    for name, of_users in ranks.items():
        (tmp_path / name).mkdir()
        gains = np.where(np.array(of_users) <= 10, 1 / np.log2(np.array(of_users) + 1), 0)
        metrics = {"ndcg@10": float(gains.mean())}
        kept = dict.fromkeys(["model", "seed", "config", "config_hash", "data_hash", "machine", "versions", "history"])
        result = {**kept, "test_result": metrics, "test_result_unseen": metrics}
        (tmp_path / name / "result.json").write_text(json.dumps(result))
        users = {"user": list("pqrs"), "item": list("wxyz"), "rank": of_users, "rank_unseen": of_users}
        pd.DataFrame(users).to_parquet(tmp_path / name / "test_ranks.parquet")
    groups = [f"{label}={tmp_path}/{label}1,{tmp_path}/{label}2" for label in "ab"]
    paired_test.main([*groups, f"--json={tmp_path}/p.json"])
    first, second, *_ = json.loads((tmp_path / "p.json").read_text())["figures"]
    assert (first["label"], first["seeds"], "difference" in first) == ("a", 2, False)
    assert second["difference"]["mean"] == pytest.approx(second["mean"] - first["mean"])
    assert 0 < second["difference"]["p"] < 1
