import re

import numpy as np
import pandas as pd
import pytest

from recbole_echomamba.__main__ import main
from recbole_echomamba.comparison import tables
from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.system.manifest import write_recorded_text
from tests.comparison.conftest import ROWS, find_run, make_command, read_results


def make_comparison(results):
    counts = pd.Series(dtype=int)
    return Comparison("cycle", results, configs={}, baseline=None, item_counts=counts, user_counts=counts)


def test_the_report_holds_mean_and_deviation_of_every_metric(finished):
    table = pd.read_csv(finished / "summary.csv", index_col="label")
    report = (finished / "report.md").read_text()
    assert list(table.index) == ROWS
    for label, row in table.iterrows():
        model, variant = label.split()[0], "wide" if "wide" in label else None
        runs = [r for r in read_results(finished) if (r["model"], r["variant"]) == (model, variant)]
        assert sorted(r["seed"] for r in runs) == [1, 2]
        for name in runs[0]["test_result"]:
            values = [r["test_result"][name] for r in runs]
            assert row[f"{name} mean"] == pytest.approx(np.mean(values))
            assert row[f"{name} sd"] == pytest.approx(np.std(values, ddof=1))
            assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in report


def test_the_best_is_marked_lowest_where_lower_is_better():
    results = {
        "a": [{"test_result": {"ndcg@10": 0.2, "giniindex@10": 0.9}}],
        "b": [{"test_result": {"ndcg@10": 0.1, "giniindex@10": 0.8}}],
    }
    assert tables.tabulate_metrics(make_comparison(results)).best == {(0, 1), (1, 2)}


def test_one_entry_adds_a_column_to_the_cost_table_and_to_the_csv(finished, monkeypatch):
    column = tables.Column("best_valid_score", "validation", ".3f")
    monkeypatch.setattr(tables, "COLUMNS", [*tables.COLUMNS, column])
    results = read_results(finished)
    comparison = make_comparison({"a": results})
    scores = [result["best_valid_score"] for result in results]
    costs, runs = tables.tabulate_costs(comparison), tables.tabulate_runs(comparison)
    assert costs.rows[0][costs.header.index("validation")] == f"{np.mean(scores):.3f}"
    assert [row[runs.header.index("best_valid_score")] for row in runs.rows] == scores


def test_an_epoch_that_other_work_disturbed_does_not_count():
    seconds = [{"seconds": 1.0}, {"seconds": 2.0}, {"seconds": 90.0}]
    assert tables.compute_epoch_seconds({"history": seconds}) == 2.0


def test_a_report_says_what_variants_change_and_where_machines_differ(data_path, out, started):
    assert "Mamba4Rec (wide) has hidden_size 24." in (out / "report.md").read_text()
    assert "on the machine of the runs" in (out / "report.md").read_text()
    result = find_run(out, "SASRec-*-s2") / "result.json"
    write_recorded_text(result, result.read_text().replace('"threads": ', '"threads": 9'))
    assert main(make_command(data_path, out)) == 0
    assert started == []
    assert "ON DIFFERENT MACHINES" in (out / "report.md").read_text()
    assert pd.read_csv(out / "runs.csv")["threads"].nunique() == 2


def test_the_page_needs_no_other_file(finished):
    page = (finished / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r'(src|href)="(?!data:)', page)
    headings = ["parameters", "s/epoch", "users/s", "peak memory", "p (Holm)", "effect size"]
    for word in [*ROWS, *headings, "ndcg@10", "threads"]:
        assert word in page


def test_the_folder_holds_the_report_its_tables_and_its_plots(finished):
    pictures = {"learning_curves.png", "accuracy_and_speed.png", "history.png", "popularity.png"}
    report = {"report.html", "report.md", "report.tex", "runs.csv", "summary.csv", "rows.json", "runs"}
    assert {file.name for file in finished.iterdir()} == report | pictures
    linked = re.findall(r"\]\((.*?)\)", (finished / "report.md").read_text())
    assert set(linked) == pictures
    for picture in pictures:
        assert (finished / picture).read_bytes().startswith(b"\x89PNG")


def test_the_latex_tables_have_the_same_rows_escaped(finished):
    text = (finished / "report.tex").read_text()
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 5
    assert "Mamba4Rec (wide) & " in text
    assert "±" not in text


def test_every_run_is_in_the_csv(finished):
    table = pd.read_csv(finished / "runs.csv")
    assert list(zip(table["label"], table["seed"], strict=True)) == [(label, seed) for label in ROWS for seed in (1, 2)]
    assert table["data_hash"].nunique() == 1
    assert table.groupby("label")["config_hash"].nunique().tolist() == [1, 1, 1]


def test_reports_count_epochs_from_one(finished):
    kept = sorted(result["best_epoch"] for result in read_results(finished))
    shown = pd.read_csv(finished / "runs.csv")
    assert sorted(shown["best_epoch"]) == [epoch + 1 for epoch in kept]
    assert shown["best_epoch"].between(1, shown["epochs"]).all()
