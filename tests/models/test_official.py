"""Weights under the names and shapes of the authors' code, which are written out here by hand."""

import pytest
import torch

from recbole_echomamba.models import load_official_state_dict, official_state_dict

MAMBA = {
    "A_log": (32, 4),
    "D": (32,),
    "in_proj.weight": (64, 16),
    "conv1d.weight": (32, 1, 4),
    "conv1d.bias": (32,),
    "x_proj.weight": (9, 32),
    "dt_proj.weight": (32, 1),
    "dt_proj.bias": (32,),
    "out_proj.weight": (16, 32),
}
NORM = {"weight": (16,), "bias": (16,)}


def under(prefix, shapes):
    return {prefix + name: shape for name, shape in shapes.items()}


def echomamba(layers):
    shapes = {"item_embedding.weight": (20, 16), **under("LayerNorm.", NORM)}
    for i in range(layers):
        block = f"mamba_layers.{i}."
        shapes[block + "filter_layer.complex_weight"] = (1, 5, 16, 2)
        shapes |= under(block + "filter_layer.LayerNorm.", NORM)
        for j in range(layers):
            shapes |= under(f"{block}norms_forward.{j}.", NORM) | under(f"{block}norms_backward.{j}.", NORM)
            shapes |= under(f"{block}mamba_forwards.{j}.", MAMBA) | under(f"{block}mamba_backwards.{j}.", MAMBA)
        shapes |= {block + "glu.fc1.weight": (32, 16), block + "glu.fc1.bias": (32,)}
        shapes |= {block + "glu.fc2.weight": (16, 16), block + "glu.fc2.bias": (16,)}
        shapes |= under(block + "glu.LayerNorm.", NORM)
    return shapes


def mamba4rec(layers):
    shapes = {"item_embedding.weight": (20, 16), **under("LayerNorm.", NORM)}
    for i in range(layers):
        layer = f"mamba_layers.{i}."
        shapes |= under(layer + "mamba.", MAMBA) | under(layer + "LayerNorm.", NORM)
        shapes |= {layer + "ffn.w_1.weight": (64, 16), layer + "ffn.w_1.bias": (64,)}
        shapes |= {layer + "ffn.w_2.weight": (16, 64), layer + "ffn.w_2.bias": (16,)}
        shapes |= under(layer + "ffn.LayerNorm.", NORM)
    return shapes


SHAPES = {"EchoMamba4Rec": echomamba, "Mamba4Rec": mamba4rec}
CASES = [(name, shapes, layers) for name, shapes in SHAPES.items() for layers in (1, 2)]
IDS = [f"{name}-{layers}" for name, _, layers in CASES]


def saved(shapes):
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=draw).double() for name, shape in shapes.items()}


@pytest.mark.parametrize(("name", "shapes", "layers"), CASES, ids=IDS)
def test_the_authors_weights_go_in_and_come_out_unchanged(build, name, shapes, layers):
    model, theirs = build(name, num_layers=layers), saved(shapes(layers))
    load_official_state_dict(model, theirs)
    found = official_state_dict(model)
    assert found.keys() == theirs.keys()
    assert all(torch.equal(found[key], theirs[key]) for key in theirs)


def test_weights_land_in_the_part_they_are_named_for(build):
    model, theirs = build("EchoMamba4Rec", num_layers=2), saved(echomamba(2))
    load_official_state_dict(model, theirs)
    pair = model.blocks[1].pairs[0]
    assert torch.equal(pair.forward_mamba.A_log, theirs["mamba_layers.1.mamba_forwards.0.A_log"])
    assert torch.equal(pair.backward_mamba.D, theirs["mamba_layers.1.mamba_backwards.0.D"])
    assert torch.equal(pair.backward_norm.bias, theirs["mamba_layers.1.norms_backward.0.bias"])
    assert torch.equal(model.blocks[0].filter.weight, theirs["mamba_layers.0.filter_layer.complex_weight"][0])
    assert torch.equal(model.blocks[0].glu.norm.weight, theirs["mamba_layers.0.glu.LayerNorm.weight"])
    assert torch.equal(model.input_norm.weight, theirs["LayerNorm.weight"])


def test_the_block_the_authors_never_call_is_ignored(build):
    theirs = saved(echomamba(1)) | {"mamba_layers.0.multi_query_transformer_block.query.weight": torch.zeros(3)}
    model = build("EchoMamba4Rec")
    load_official_state_dict(model, theirs)
    assert not any("multi_query" in name for name in official_state_dict(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("mamba_layers.0.glu.fc1.bias"), r"mamba_layers\.0\.glu\.fc1\.bias is missing"),
        (lambda w: w.update(other=torch.zeros(1)), "other has no place in this EchoMamba4Rec"),
        (
            lambda w: w.update({"LayerNorm.bias": torch.zeros(3)}),
            r"LayerNorm\.bias has shape \[3\], the model needs \[16\]",
        ),
        (
            lambda w: w.update({"mamba_layers.0.filter_layer.complex_weight": torch.zeros(1, 9, 16, 2)}),
            r"complex_weight has shape \[1, 9, 16, 2\], the model needs \[1, 5, 16, 2\]",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name_and_change_nothing(build, change, message):
    model, theirs = build("EchoMamba4Rec"), saved(echomamba(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    change(theirs)
    with pytest.raises(ValueError, match=message):
        load_official_state_dict(model, theirs)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_without_published_code_is_refused():
    with pytest.raises(ValueError, match="no published code for Linear"):
        official_state_dict(torch.nn.Linear(1, 1))
