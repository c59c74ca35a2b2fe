import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_echomamba import Config, run
from recbole_echomamba.__main__ import main
from recbole_echomamba.comparison.compare import Comparison, best_baseline, compare, parse_variant
from recbole_echomamba.comparison.statistics import compare_with_baseline
from recbole_echomamba.comparison.tables import tabulate_metrics
from recbole_echomamba.training import checkpoint
from tests.conftest import SMALL, USERS

compare_module = importlib.import_module("recbole_echomamba.comparison.compare")

ROWS = ["Mamba4Rec", "SASRec", "Mamba4Rec (wide)"]


@pytest.fixture
def here(monkeypatch):
    """Runs in this process, which is faster; returns the list of those made."""
    made = []

    def alone(name, **arguments):
        made.append((name, *arguments))
        run(**arguments)

    monkeypatch.setattr(compare_module, "_run_alone", alone)
    return made


def arguments(data_path, out, *more):
    settings = {**SMALL, "data_path": data_path, "n_heads": 2}
    fixed = ["--models=Mamba4Rec,SASRec", "--dataset=cycle", "--seeds=1,2", "--variant=wide:hidden_size=24", "--latex"]
    return ["compare", *fixed, f"--out={out}", *(f"--{key}={value}" for key, value in settings.items()), *more]


@pytest.fixture(scope="module")
def finished(data_path, tmp_path_factory):
    """The folder of a comparison that has been made."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(compare_module, "_run_alone", lambda name, **arguments: run(**arguments))
        assert main(arguments(data_path, folder / "out")) == 0
    return folder / "out"


@pytest.fixture
def out(finished, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def results(out):
    return [json.loads(file.read_text()) for file in (out / "runs").glob("*/result.json")]


def test_the_report_holds_mean_and_deviation_of_every_metric(finished):
    table = pd.read_csv(finished / "summary.csv", index_col="label")
    assert list(table.index) == ROWS
    for label, row in table.iterrows():
        variant = "wide" if "wide" in label else None
        runs = [r for r in results(finished) if (r["model"], r["variant"]) == (label.split()[0], variant)]
        assert sorted(r["seed"] for r in runs) == [1, 2]
        for name in runs[0]["test_result"]:
            values = [r["test_result"][name] for r in runs]
            assert row[f"{name} mean"] == pytest.approx(np.mean(values))
            assert row[f"{name} sd"] == pytest.approx(np.std(values, ddof=1))
            assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in (finished / "report.md").read_text()


def test_the_best_is_marked_lowest_where_lower_is_better():
    tested = [[{"ndcg@10": 0.2, "giniindex@10": 0.9}], [{"ndcg@10": 0.1, "giniindex@10": 0.8}]]
    rows = {label: [{"test_result": result} for result in one] for label, one in zip("ab", tested, strict=True)}
    compared = Comparison("d", rows, {}, None, pd.Series(dtype=int), pd.Series(dtype=int))
    assert tabulate_metrics(compared).best == {(0, 1), (1, 2)}


def test_a_report_says_what_variants_change_and_where_machines_differ(data_path, out, here):
    assert "Mamba4Rec (wide) has hidden_size 24." in (out / "report.md").read_text()
    assert "on the machine of the runs" in (out / "report.md").read_text()
    (other,) = (out / "runs").glob("SASRec-*-s2-*/result.json")
    other.write_text(other.read_text().replace('"threads": ', '"threads": 9'))
    assert main(arguments(data_path, out)) == 0
    assert "ON DIFFERENT MACHINES" in (out / "report.md").read_text()
    assert pd.read_csv(out / "runs.csv")["threads"].nunique() == 2


def test_the_page_holds_everything_itself(finished):
    page = (finished / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r'(src|href)="(?!data:)', page)
    for word in (
        *ROWS,
        "ndcg@10",
        "parameters",
        "s/epoch",
        "users/s",
        "peak memory",
        "p (Holm)",
        "effect size",
        "threads",
    ):
        assert word in page
    assert {file.name for file in finished.iterdir()} == {
        *("report.html", "report.md", "report.tex", "runs.csv", "summary.csv", "runs"),
        *("learning_curves.png", "accuracy_and_speed.png", "history.png", "popularity.png"),
    }
    for picture in re.findall(r"\]\((.*?)\)", (finished / "report.md").read_text()):
        assert (finished / picture).read_bytes().startswith(b"\x89PNG")


def test_the_latex_table_has_the_same_rows_escaped(finished):
    text = (finished / "report.tex").read_text()
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 3
    assert "Mamba4Rec (wide) & " in text
    assert "±" not in text


def test_every_run_is_in_the_csv(finished):
    table = pd.read_csv(finished / "runs.csv")
    assert list(zip(table["label"], table["seed"], strict=True)) == [(label, seed) for label in ROWS for seed in (1, 2)]
    assert table["data_hash"].nunique() == 1
    assert table.groupby("label")["config_hash"].nunique().tolist() == [1, 1, 1]


def test_what_is_finished_is_not_run_again(data_path, out, here, capsys):
    assert main(arguments(data_path, out)) == 0
    assert here == []


def test_a_killed_comparison_goes_on_with_what_is_missing(data_path, out, here):
    before = (out / "summary.csv").read_text()
    (killed,) = (out / "runs").glob("SASRec-*-s2-*")
    (killed / "result.json").unlink()
    assert main(arguments(data_path, out)) == 0
    assert here == [("SASRec, seed 2", "resume")]
    assert (out / "summary.csv").read_text() == before


def test_a_report_on_what_is_finished_runs_nothing_and_names_the_seeds(data_path, out, here, capsys):
    (missing,) = (out / "runs").glob("SASRec-*-s2-*")
    shutil.rmtree(missing)
    assert main([*arguments(data_path, out), "--only-finished"]) == 0
    assert here == []
    text = (out / "report.md").read_text()
    assert "seeds 1, 2 of Mamba4Rec; 1 of SASRec; 1, 2 of Mamba4Rec (wide)" in text
    assert "**Not finished, and not in this report: SASRec with seed 2.**" in text
    assert "Not finished, and not in this report: SASRec with seed 2." in (out / "report.html").read_text()
    (other,) = (out / "runs").glob("SASRec-*-s1-*")
    shutil.rmtree(other)
    assert main([*arguments(data_path, out), "--only-finished"]) == 0
    assert "SASRec with seed 1, SASRec with seed 2" in (out / "report.md").read_text()
    for run_of_mamba in (out / "runs").glob("Mamba4Rec-*"):
        shutil.rmtree(run_of_mamba)
    assert main([*arguments(data_path, out), "--only-finished"]) == 1
    assert "no run of Mamba4Rec with these settings is finished" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["nothing kept", "other data", "more epochs", "damaged settings"])
def test_a_run_that_cannot_be_gone_on_with_starts_again(data_path, out, here, lost):
    (killed,) = (out / "runs").glob("SASRec-*-s2-*")
    (killed / "result.json").unlink()
    state, settings = killed / "training_state.pt", killed / "config.yaml"
    if lost == "nothing kept":
        state.unlink()
    elif lost == "other data":
        checkpoint.save_state(state, {**checkpoint.load_state(state, "cpu"), "data_hash": "another"})
    elif lost == "more epochs":
        settings.write_text(re.sub(r"epochs: \d+", "epochs: 77", settings.read_text()))
    else:
        settings.write_text("{")
    assert main(arguments(data_path, out)) == 0
    assert [name for name, *how in here if "resume" not in how] == ["SASRec, seed 2"]


def test_a_damaged_result_is_named(data_path, out, here, capsys):
    (killed,) = (out / "runs").glob("SASRec-*-s2-*")
    (killed / "result.json").write_text("{")
    assert main(arguments(data_path, out)) == 1
    assert f"{killed / 'result.json'} is damaged" in capsys.readouterr().err


def test_other_settings_and_other_data_are_run_anew(data_path, out, here, tmp_path):
    assert main([*arguments(data_path, out, "--learning_rate=0.01"), "--seeds=1"]) == 0
    assert len(here) == 3
    here.clear()
    changed = Path(shutil.copytree(data_path, tmp_path / "changed"))
    with open(changed / "cycle" / "cycle.inter", "a") as file:
        file.write("u0\ti11\t99\n")
    assert main([*arguments(changed, out, "--learning_rate=0.01"), "--seeds=1"]) == 0
    assert len(here) == 3


BAD = {
    "unknown model": (["--models=Mamba4Rec,SASRek"], "SASRec"),
    "same twice": (["--models=Mamba4Rec,Mamba4Rec"], "twice"),
    "seed": (["--seeds=one"], "--seeds"),
    "no seed": (["--seeds="], "one seed"),
    "seed twice": (["--seeds=1,2,1"], "twice"),
    "variant": (["--variant=wide"], "name:key=value"),
    "variant called none": (["--variant=none:hidden_size=3"], "name of letters"),
    "variant tested otherwise": (["--variant=exact:exact_time_order=True"], "changes exact_time_order"),
    "ratio": (["--eval_args={'mode': 'full', 'split': {'RS': [0.8, 0.1, 0.1]}, 'order': 'TO'}"], "splits by"),
    "no ndcg": (["--metrics=[Hit,MRR]", "--valid_metric=MRR@10"], "add NDCG"),
    "untested": (["--train_on=all"], "nothing to compare"),
    "unknown key": (["--variant=wide:hiden_size=3"], "hidden_size"),
    "sampled": (["--eval_args={'mode': 'uni100'}"], "full"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_before_anything_runs(case, data_path, tmp_path, here, capsys):
    more, word = BAD[case]
    fixed = ["--models=Mamba4Rec,SASRec", "--dataset=cycle", f"--data_path={data_path}", f"--out={tmp_path / 'out'}"]
    assert main(["compare", *fixed, "--topk=[5,10]", *more]) == 1
    assert word in capsys.readouterr().err
    assert here == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["loss_type", "epochs", "MAX_ITEM_LIST_LENGTH", "stopping_step"])
def test_a_setting_that_makes_models_unequal_is_refused(key):
    values = {"loss_type": ("CE", "BPR"), "epochs": (5, 6), "MAX_ITEM_LIST_LENGTH": (5, 6), "stopping_step": (5, 6)}[
        key
    ]
    rows = [compare_module.Contender(model) for model in ("SASRec", "GRU4Rec")]
    configs = {
        row.label: Config(row.model, "ml-100k", config_dict={key: value})
        for row, value in zip(rows, values, strict=True)
    }
    with pytest.raises(ValueError, match=f"{key} is .* for SASRec, .* for GRU4Rec"):
        compare_module.refuse_differences(rows, configs)
    rows[1].settings = {key: values[1]}  # a variant is there to differ
    compare_module.refuse_differences(rows, configs)


def test_a_variant_is_read_as_settings():
    assert parse_variant("wide:hidden_size=24,topk=[5,10],loss_type=BPR") == (
        "wide",
        {"hidden_size": 24, "topk": [5, 10], "loss_type": "BPR"},
    )


def test_the_baseline_is_the_best_other_model_on_validation():
    def rows(bigger):
        scores = {"ours": 0.9, "a": 0.2, "b": 0.4, "ours (v)": 0.95}
        models = {"ours (v)": "ours"}
        return {
            label: (models.get(label, label), [{"best_valid_score": score, "valid_score_bigger": bigger}])
            for label, score in scores.items()
        }

    assert best_baseline(rows(True)) == "b"
    assert best_baseline(rows(False)) == "a"
    only = {label: row for label, row in rows(True).items() if row[0] == "ours"}
    assert best_baseline(only) == "ours"
    assert best_baseline({"ours": only["ours"]}) is None


def test_rows_tested_on_different_targets_are_refused(finished):
    (file,) = (finished / "runs").glob("SASRec-*-s1-*/test_ranks.parquet")
    directory = str(file.parent)
    ours = next(r for r in results(finished) if r["model"] == "Mamba4Rec" and r["seed"] == 1 and r["variant"] is None)
    both = {"a": [{**ours}], "b": [{**ours, "run_directory": directory}]}
    compared = Comparison("d", both, {}, "b", pd.Series(dtype=int), pd.Series(dtype=int))
    assert len(compare_with_baseline(compared, 10)) == 1
    original = file.read_bytes()
    pd.read_parquet(file).assign(item="i0").to_parquet(file)
    try:
        with pytest.raises(ValueError, match="tested on different targets"):
            compare_with_baseline(compared, 10)
    finally:
        file.write_bytes(original)


def test_popularity_and_activity_are_counted_on_the_data(data_path, finished, here):
    made = compare(
        ["Mamba4Rec", "SASRec"],
        *("cycle", [1, 2], {"wide": {"hidden_size": 24}}, None),
        {**SMALL, "data_path": str(data_path), "n_heads": 2},
        finished,
    )
    assert here == []
    assert set(made.popularity) == {
        USERS * 11 // 12 - USERS // 12
    }  # everyone's walk covers 11 of 12 items; one is the target
    assert set(made.user_counts) == {11}
