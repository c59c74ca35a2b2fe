"""Every example runs as a script in an empty folder and prints what it promises."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_echomamba import recommend, run
from recbole_echomamba.__main__ import main
from recbole_echomamba.export import export

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run_example(monkeypatch, capsys):
    """``run_example(name, *arguments)`` returns the lines that the script prints."""

    def run(name, *arguments):
        file = str(EXAMPLES / name)
        monkeypatch.setattr(sys, "argv", [file, *arguments])
        runpy.run_path(file, run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def ndcg(line):
    return float(re.search(r"NDCG@10 (0\.\d{4})", line)[1])


def test_a_custom_model_trains_and_loads_again(run_example):
    trained, loaded = run_example("custom_model.py")
    # scores at random give 0.003
    assert ndcg(trained) > 0.01
    assert loaded.endswith("it scores 1682 items")
    (directory,) = Path("saved").glob("GatedMamba-ml-100k-*")
    assert str(directory) in loaded
    # its Mamba layer is read at the last position only, so there are no step sizes to show
    assert main(["inspect", str(directory), f"--model={EXAMPLES / 'custom_model.py'}:GatedMamba"]) == 0
    assert "NDCG@10" in (directory / "inspection.html").read_text()


def test_a_log_becomes_recommendations_in_its_own_ids(run_example):
    lines = run_example("own_log.py")
    assert lines[0].startswith("shop: 40 users, 6 items, 560 interactions, in ")
    assert "test Hit@1 1.00" in lines[1]
    recommended = {(row[0], row[2]): row[1] for row in (line.split() for line in lines) if len(row) == 4}
    # after 14 days customer-0 has bought up to butter, customer-1 up to cheese
    assert recommended["customer-0", "1"] == "cheese"
    assert recommended["customer-1", "1"] == "honey"
    assert recommended["history", "1"] == "tea"


def test_weights_written_for_the_authors_code_score_the_same_when_loaded(run_example):
    trained, *_, loaded = run_example("authors_weights.py")
    assert "wrote 34 tensors to weights.pt" in trained
    assert ndcg(trained) == ndcg(loaded) > 0.01
    assert run_example("authors_weights.py", "weights.pt") == [loaded]


def test_an_exported_model_recommends_where_torch_cannot_be_imported(settings):
    directory = run("Mamba4Rec", "cycle", config_dict={**settings, "epochs": 1})["run_directory"]
    exported = export(directory)
    history = [f"i{number}" for number in range(6)]
    code = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(['torch', 'recbole', 'recbole_echomamba'])); "
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(EXAMPLES / "onnx_recommend.py"), str(exported.file), *history]
    recommended = [line.split() for line in subprocess.check_output(command, text=True).splitlines()]
    expected = recommend(directory, history=history, exclude_seen=True)
    assert [item for item, _ in recommended] == expected["item_id"].tolist()
    assert [float(score) for _, score in recommended] == pytest.approx(expected["score"].tolist(), abs=1e-4)


def test_every_example_has_a_test_and_stays_short():
    tests = Path(__file__).read_text()
    for file in EXAMPLES.glob("*.py"):
        assert f'"{file.name}"' in tests
        assert len(file.read_text().splitlines()) < 60, file.name
