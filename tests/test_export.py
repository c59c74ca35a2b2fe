"""An exported file scores as the model does, without this package, and as ONNX without torch."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_echomamba import export as export_module
from recbole_echomamba import load_run, run
from recbole_echomamba.cli import main
from recbole_echomamba.export import export
from recbole_echomamba.models.base import StateSpaceRecommender
from recbole_echomamba.system.errors import MissingFileError, UserError
from tests.conftest import SMALL

FORMS = {
    "authors": ("EchoMamba4Rec", {}),
    "causal, times": ("EchoMamba4Rec", {"causal": True, "time_gaps": True}),
    "two blocks": ("EchoMamba4Rec", {"num_layers": 2, "pairs_per_block": 1, "MAX_ITEM_LIST_LENGTH": 9}),
    "two layers": ("Mamba4Rec", {"num_layers": 2, "MAX_ITEM_LIST_LENGTH": 20}),
}


class ByValue(StateSpaceRecommender):
    """A custom model that looks at a number while it computes, which no traced program can."""

    def encode(self, item_seq, item_seq_len):
        return self.embed(item_seq).sum(1) if float(item_seq.sum()) >= 0 else None


class ByDeterminant(StateSpaceRecommender):
    """A custom model with an operation that ONNX does not have."""

    def encode(self, item_seq, item_seq_len):
        embedded = self.embed(item_seq)
        return embedded.sum(1) * torch.linalg.eigvalsh(embedded.mT @ embedded).sum(-1, keepdim=True)


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    """``trained(model, **settings)``: the run directory of a model, trained once."""
    folder = tmp_path_factory.mktemp("trained")
    directories = {}

    def train(model, **changed):
        key = (str(model), str(changed))
        if key not in directories:
            paths = {"data_path": str(data_path), "checkpoint_dir": str(folder)}
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                result = run(model, "cycle", config_dict={**SMALL, "epochs": 1, **paths, **changed})
            directories[key] = result["run_directory"]
        return directories[key]

    return train


def read_test_part(directory):
    """Return the inputs of an exported file for the test part, and the model's scores."""
    _, model, _, _, _, test = load_run(directory)
    interaction = next(iter(test))[0]
    inputs = {"item_seq": interaction["item_id_list"], "item_seq_len": interaction["item_length"]}
    if model.time_field:
        inputs["time_seq"] = interaction[model.time_field]
    with torch.no_grad():
        scores = model.full_sort_predict(interaction)
    scores[:, 0] = -torch.inf
    return {name: tensor.numpy() for name, tensor in inputs.items()}, scores.numpy()


def assert_same_scores(found, expected):
    assert np.isneginf(found[:, 0]).all()
    largest = np.abs(expected[:, 1:]).max()
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("form", list(FORMS))
def test_onnx_scores_the_test_part_as_the_model_does_without_a_loop(trained, form):
    import onnx
    import onnxruntime

    model, changed = FORMS[form]
    directory = trained(model, **changed)
    exported = export(directory)
    assert exported.error <= 1e-5
    content = onnx.load(exported.file)
    operations = {node.op_type for node in content.graph.node}
    assert "MatMul" in operations
    assert not operations & {"Loop", "Scan", "If", "DFT", "STFT"}
    assert not any(node.metadata_props for node in content.graph.node)
    session = onnxruntime.InferenceSession(exported.file)
    inputs, expected = read_test_part(directory)
    assert [each.name for each in session.get_inputs()] == list(inputs)
    assert_same_scores(session.run(["scores"], inputs)[0], expected)
    # any number of histories
    assert_same_scores(session.run(None, {name: rows[:1] for name, rows in inputs.items()})[0], expected[:1])


def test_the_best_items_come_with_their_scores_and_the_vocabulary_names_them(trained, capsys):
    import onnxruntime

    directory = trained("Mamba4Rec")
    assert main(["export", directory, "--topk=3", "--out=best.onnx"]) == 0
    assert "best.onnx" in capsys.readouterr().out
    inputs, expected = read_test_part(directory)
    items, scores = onnxruntime.InferenceSession("best.onnx").run(["items", "scores"], inputs)
    order = np.argsort(-expected, axis=1)[:, :3]
    np.testing.assert_array_equal(items, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, 1), rtol=1e-4)
    vocabulary = json.loads(Path("best.json").read_text())
    _, _, dataset, *_ = load_run(directory)
    assert vocabulary == {"length": 8, "items": dataset.field2id_token["item_id"].tolist()}


def test_a_torch_program_scores_without_this_package(trained):
    directory = trained("EchoMamba4Rec")
    exported = export(directory, to="torch", out="model.pt2")
    inputs, expected = read_test_part(directory)
    np.savez("inputs.npz", **inputs)
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["recbole_echomamba", "recbole", "numba"]))
import numpy, torch
program = torch.export.load({str(exported.file)!r}).module()
inputs = {{name: torch.from_numpy(rows) for name, rows in numpy.load("inputs.npz").items()}}
numpy.save("scores.npy", program(**inputs)[0].detach().numpy())
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert_same_scores(np.load("scores.npy"), expected)


def test_a_file_whose_scores_are_not_the_models_is_not_written(trained, monkeypatch):
    monkeypatch.setattr(export_module, "TOLERANCE", -1)
    with pytest.raises(UserError, match=r"the exported scores differ from the model's by .* of the largest"):
        export(trained("Mamba4Rec"), to="torch", out="model.pt2")
    assert not [file.name for file in Path().iterdir() if "model" in file.name]


def test_a_model_of_recbole_is_refused_with_those_that_can_be_exported(trained):
    with pytest.raises(UserError, match=r"SASRec cannot be exported; export a run of EchoMamba4Rec, Mamba4Rec or"):
        export(trained("SASRec", n_heads=2), to="torch")


UNTRACEABLE = "torch.export cannot trace it at `.*float.item_seq.*`: "
UNKNOWN_TO_ONNX = "ONNX has no form of it: .*eig"


@pytest.mark.parametrize(
    ("model", "to", "reason"), [(ByValue, "torch", UNTRACEABLE), (ByDeterminant, "onnx", UNKNOWN_TO_ONNX)]
)
def test_a_custom_model_that_cannot_be_exported_is_refused_with_the_operation(trained, model, to, reason):
    with pytest.raises(UserError, match=f"{model.__name__} cannot be exported, {reason}") as refused:
        export(trained(model), to=to, model=model)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"to": "tflite"}, "there is no format 'tflite'; choose onnx or torch"),
        ({"to": "torch", "topk": 0}, "topk must lie in 1..12, the number of items; it is 0"),
        ({"to": "torch", "topk": 13}, "topk must lie in 1..12"),
        ({"to": "torch", "out": "model.json"}, "must end in .pt2, it is model.json"),
        ({"to": "torch", "config_dict": {"causal": True}}, "causal cannot change any more"),
    ],
)
def test_bad_arguments_are_refused(trained, changed, message):
    with pytest.raises(UserError, match=message):
        export(trained("Mamba4Rec"), **changed)


def test_a_folder_that_is_not_there_is_named(trained):
    with pytest.raises(MissingFileError, match="--out: there is no folder"):
        export(trained("Mamba4Rec"), to="torch", out="nowhere/model.pt2")


def test_a_missing_onnxruntime_is_named_with_the_extra(trained, monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else find_spec(name, *rest)
    )
    assert main(["export", trained("Mamba4Rec")]) == 1
    expected = "error: export to ONNX needs onnxruntime; install the extra: pip install 'recbole_echomamba[export]'\n"
    assert capsys.readouterr().err == expected
