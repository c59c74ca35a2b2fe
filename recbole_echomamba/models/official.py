"""Weights under the names of the authors' own code, both ways.

EchoMamba4Rec: github.com/wyd0042/EchoMamba4Rec; Mamba4Rec: github.com/chengkai-liu/Mamba4Rec. Inside a Mamba the names are
mamba-ssm's on both sides.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from recbole_echomamba.system.errors import UserError

NAMES = {
    "EchoMamba4Rec": {
        "item_embedding.": "item_embedding.",
        "input_norm.": "LayerNorm.",
        "blocks.{i}.filter.weight": "mamba_layers.{i}.filter_layer.complex_weight",
        "blocks.{i}.filter.norm.": "mamba_layers.{i}.filter_layer.LayerNorm.",
        "blocks.{i}.pairs.{j}.forward_norm.": "mamba_layers.{i}.norms_forward.{j}.",
        "blocks.{i}.pairs.{j}.backward_norm.": "mamba_layers.{i}.norms_backward.{j}.",
        "blocks.{i}.pairs.{j}.forward_mamba.": "mamba_layers.{i}.mamba_forwards.{j}.",
        "blocks.{i}.pairs.{j}.backward_mamba.": "mamba_layers.{i}.mamba_backwards.{j}.",
        "blocks.{i}.glu.norm.": "mamba_layers.{i}.glu.LayerNorm.",
        "blocks.{i}.glu.": "mamba_layers.{i}.glu.",
    },
    "Mamba4Rec": {
        "item_embedding.": "item_embedding.",
        "input_norm.": "LayerNorm.",
        "layers.{i}.mamba.": "mamba_layers.{i}.mamba.",
        "layers.{i}.norm.": "mamba_layers.{i}.LayerNorm.",
        "layers.{i}.feed_forward.norm.": "mamba_layers.{i}.ffn.LayerNorm.",
        "layers.{i}.feed_forward.": "mamba_layers.{i}.ffn.",
    },
}
"""Per model, how our names begin and how the authors' do; the first that fits counts."""

UNUSED = re.compile(r"(^|\.)multi_query_transformer_block\.")
"""Parameters of a block the authors build and never call."""


def load_official_state_dict(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Load weights saved by the authors' code; leave the model unchanged if they do not fit.

    Args:
        model: a model of :data:`NAMES`, or of a class derived from one.
        state_dict: the weights under the authors' names; the block that they never call is ignored.

    Raises:
        UserError: a key is missing, unknown or of another shape, which the message names; or no code of this model is published.
    """
    names, expected = _names(model), official_state_dict(model)
    given = {theirs: tensor for theirs, tensor in state_dict.items() if not UNUSED.search(theirs)}
    for theirs in [*given, *expected]:
        if theirs not in expected:
            raise UserError(f"{theirs} has no place in this {type(model).__name__}")
        if theirs not in given:
            raise UserError(f"{theirs} is missing")
        if given[theirs].shape != expected[theirs].shape:
            shape, needed = list(given[theirs].shape), list(expected[theirs].shape)
            raise UserError(f"{theirs} has shape {shape}, the model needs {needed}")
    own = model.state_dict()
    model.load_state_dict({name: given[theirs].reshape(own[name].shape) for name, theirs in names.items()})


def official_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of ``model`` under the authors' names, with their shapes; without the block they never call.

    Raises:
        UserError: no code of this model is published.
    """
    names = _names(model)
    return {
        names[name]: tensor.unsqueeze(0) if names[name].endswith("complex_weight") else tensor
        for name, tensor in model.state_dict().items()
    }


def _names(model: nn.Module) -> dict[str, str]:
    """Map our parameter names to the authors'."""
    table = next((NAMES[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in NAMES), None)
    if table is None:
        raise UserError(f"there is no published code for {type(model).__name__}")
    return {name: _theirs(table, name) for name in model.state_dict()}


def _theirs(table: dict[str, str], name: str) -> str:
    for ours, theirs in table.items():
        # "blocks.{i}." becomes an expression that captures the number as i
        pattern = re.compile(re.sub(r"{(\w)}", r"(?P<\1>[0-9]+)", ours.replace(".", "[.]")))
        match = pattern.match(name)
        if match:
            return theirs.format(**match.groupdict()) + name[match.end() :]
    raise UserError(f"the authors' code has nothing like {name}")
