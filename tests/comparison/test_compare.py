import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from recbole_echomamba.__main__ import main
from recbole_echomamba.comparison.compare import choose_baseline, compare
from recbole_echomamba.training.checkpoint import load_state, save_state
from tests.comparison.conftest import ROWS, find_run, make_command
from tests.conftest import SMALL, USERS, replace_flags


def test_finished_runs_are_reused_and_shown_with_their_score(data_path, out, started, caplog):
    caplog.set_level("INFO")
    assert main(make_command(data_path, out)) == 0
    assert started == []
    lines = [text.strip() for text in caplog.messages if text.startswith("\nrun ")]
    assert len(lines) == 6
    assert re.fullmatch(r"run 1 of 6: Mamba4Rec, seed 1: finished already, best validation NDCG@10 \d\.\d{4}", lines[0])


def test_an_interrupted_comparison_resumes_the_unfinished_run(data_path, out, started):
    before = (out / "summary.csv").read_text()
    (find_run(out, "SASRec-*-s2") / "result.json").unlink()
    assert main(make_command(data_path, out)) == 0
    assert started == [("SASRec, seed 2", "resumed")]
    assert (out / "summary.csv").read_text() == before


@pytest.mark.parametrize("lost", ["no state", "other data", "more epochs", "damaged settings"])
def test_a_run_that_cannot_be_resumed_starts_again(data_path, out, started, lost):
    interrupted = find_run(out, "SASRec-*-s2")
    (interrupted / "result.json").unlink()
    state, settings = interrupted / "training_state.pt", interrupted / "config.yaml"
    if lost == "no state":
        state.unlink()
    elif lost == "other data":
        save_state(state, {**load_state(state, "cpu"), "data_hash": "another"})
    elif lost == "more epochs":
        settings.write_text(re.sub(r"epochs: \d+", "epochs: 77", settings.read_text()))
    else:
        settings.write_text("{")
    assert main(make_command(data_path, out)) == 0
    assert started == [("SASRec, seed 2", "new")]


def test_a_damaged_result_is_named(data_path, out, started, capsys):
    file = find_run(out, "SASRec-*-s2") / "result.json"
    file.write_text("{")
    assert main(make_command(data_path, out)) == 1
    assert f"{file} is damaged" in capsys.readouterr().err


def test_missing_ranks_are_named(data_path, out, started, capsys):
    file = find_run(out, "SASRec-*-s2") / "test_ranks.parquet"
    file.unlink()
    assert main(make_command(data_path, out)) == 1
    assert f"{file} does not exist; remove its folder to repeat the run" in capsys.readouterr().err


def test_a_run_with_other_settings_or_other_data_is_not_reused(data_path, out, started, tmp_path):
    changed = Path(shutil.copytree(data_path, tmp_path / "changed"))
    with open(changed / "cycle" / "cycle.inter", "a") as file:
        file.write("u0\ti11\t99\n")
    few_runs = ["--models=SASRec", "--variant=short:n_layers=1", "--seeds=1"]
    command = replace_flags(make_command(data_path, out), *few_runs)
    new_variant = [("SASRec (short), seed 1", "new")]
    new_rows = [("SASRec, seed 1", "new"), *new_variant]

    # without this the reports would be kept, see below
    (out / "rows.json").unlink()
    assert main(command) == 0
    assert started == new_variant  # the run of SASRec itself is there already
    started.clear()
    (out / "rows.json").unlink()
    assert main([*command, "--learning_rate=0.01"]) == 0
    assert started == new_rows
    started.clear()
    (out / "rows.json").unlink()
    other_data = [word.replace(f"--data_path={data_path}", f"--data_path={changed}") for word in command]
    assert main(other_data) == 0
    assert started == new_rows


def test_the_report_of_another_comparison_is_kept_and_one_may_grow(data_path, out, started, capsys):
    before = (out / "report.md").read_text()
    command = make_command(data_path, out)
    assert main([*command, "--learning_rate=0.01"]) == 1
    assert f"{out} holds a report on Mamba4Rec, SASRec, Mamba4Rec (wide) with other settings" in capsys.readouterr().err
    assert main(replace_flags(command, "--models=Mamba4Rec")) == 1
    assert "or compare SASRec too" in capsys.readouterr().err
    assert started == []
    assert (out / "report.md").read_text() == before
    assert main(replace_flags(command, "--models=Mamba4Rec,SASRec,GRU4Rec", "--seeds=1")) == 0
    assert started == [("GRU4Rec, seed 1", "new")]
    (out / "rows.json").write_text("{")
    assert main(command) == 1
    assert "rows.json is damaged; remove it" in capsys.readouterr().err


def test_a_report_on_finished_runs_trains_nothing_and_names_what_is_missing(data_path, out, started, capsys):
    command = make_command(data_path, out, "--only-finished")
    shutil.rmtree(find_run(out, "SASRec-*-s2"))
    assert main(command) == 0
    text = (out / "report.md").read_text()
    assert "seeds 1, 2 of Mamba4Rec; 1 of SASRec; 1, 2 of Mamba4Rec (wide)" in text
    assert "- Not finished, and not in this report: SASRec with seed 2.\n" in text.partition("## ")[0]
    assert "Not finished, and not in this report: SASRec with seed 2." in (out / "report.html").read_text()

    shutil.rmtree(find_run(out, "SASRec-*-s1"))
    assert main(command) == 0
    assert "SASRec with seed 1, SASRec with seed 2" in (out / "report.md").read_text()
    assert list(pd.read_csv(out / "summary.csv")["label"]) == ["Mamba4Rec", "Mamba4Rec (wide)"]

    for directory in (out / "runs").glob("Mamba4Rec-*"):
        shutil.rmtree(directory)
    assert main(command) == 1
    assert "no run of Mamba4Rec with these settings is finished" in capsys.readouterr().err
    assert started == []


BAD = {
    "unknown model": (["--models=Mamba4Rec,SASRek"], "SASRec"),
    "model twice": (["--models=Mamba4Rec,Mamba4Rec"], "a model or variant is named twice"),
    "seed is a word": (["--seeds=one"], "--seeds must be whole numbers"),
    "no seed": (["--seeds="], "there is no seed"),
    "seed twice": (["--seeds=1,2,1"], "a seed is named twice: 1, 2, 1"),
    "variant without settings": (["--variant=wide"], "write NAME:KEY=VALUE"),
    "variant called none": (["--variant=none:hidden_size=3"], "cannot read the variant 'none:hidden_size=3'"),
    "variant tested otherwise": (["--variant=exact:exact_time_order=True"], "changes exact_time_order"),
    "unknown setting": (["--variant=wide:hiden_size=3"], "hidden_size"),
    "ratio split": (
        ["--eval_args={'mode': 'full', 'split': {'RS': [0.8, 0.1, 0.1]}, 'order': 'TO'}"],
        "splits by {'RS'",
    ),
    "sampled negatives": (["--eval_args={'mode': 'uni100'}"], "set it to full"),
    "no ndcg": (["--metrics=[Hit,MRR]", "--valid_metric=MRR@10"], "add NDCG"),
    "nothing held out": (["--train_on=all"], "nothing is held out to compare on"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_anything_runs(case, data_path, tmp_path, started, capsys):
    more, fragment = BAD[case]
    command = ["compare", "--models=Mamba4Rec,SASRec", "--dataset=cycle", f"--data_path={data_path}", "--topk=[5,10]"]
    assert main(replace_flags([*command, f"--out={tmp_path / 'out'}"], *more)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert fragment in last
    assert started == []
    assert not (tmp_path / "out").exists()


def test_the_baseline_is_the_best_other_model_on_validation():
    scores = {"ours": 0.9, "a": 0.2, "b": 0.4, "ours (v)": 0.95}

    def make_results(bigger):
        results = {}
        for label, score in scores.items():
            model = label.removesuffix(" (v)")
            results[label] = [{"model": model, "best_valid_score": score, "valid_score_bigger": bigger}]
        return results

    assert choose_baseline(make_results(bigger=True)) == "b"
    assert choose_baseline(make_results(bigger=False)) == "a"
    results = make_results(bigger=True)
    assert choose_baseline({"ours": results["ours"], "ours (v)": results["ours (v)"]}) == "ours"
    assert choose_baseline({"ours": results["ours"]}) is None


def test_popularity_and_activity_are_counted_on_the_data(data_path, finished, started):
    comparison = compare(
        ["Mamba4Rec", "SASRec"],
        "cycle",
        seeds=[1, 2],
        variants={"wide": {"hidden_size": 24}},
        config_dict={**SMALL, "data_path": str(data_path), "n_heads": 2},
        out=finished,
    )
    assert started == []
    assert list(comparison.results) == ROWS
    # Every user's walk covers 11 of the 12 items, and one of them is the target.
    assert set(comparison.popularity) == {USERS * 11 // 12 - USERS // 12}
    assert set(comparison.user_counts) == {11}
