"""Inputs of operations, their outputs and gradients, and how close two backends must be."""

import pytest
import torch

from recbole_echomamba import ops

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}

DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=["fp32", "fp64"])
REVERSE = pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])


def normal(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).double()


def results(function, inputs, dtype=torch.float64):
    """Return the outputs of a function, and the gradient of every input for fixed random weights of the outputs."""
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    outputs = function(*leaves)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    loss = sum((out * normal(*out.shape, seed=9 + i).to(dtype)).sum() for i, out in enumerate(outputs))
    gradients = torch.autograd.grad(loss, leaves)
    named = {f"output {i}": out.detach() for i, out in enumerate(outputs)}
    return named | {f"gradient of input {i}": gradient for i, gradient in enumerate(gradients)}


def scan_inputs(shape, seed=0, delta=1.0, decay=5.0):
    """Return float64 inputs ``x, delta, A, B, C, C_at, D, position`` of a scan, with values that float32 represents.

    Args:
        shape: ``batch, length, channels, states``.
        seed: of the generator.
        delta: the largest step size.
        decay: the largest decay rate ``-A``.
    """
    batch, length, channels, states = shape
    draw = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=draw)

    def uniform(*size):
        return torch.rand(*size, generator=draw)

    given = {
        "x": normal(batch, length, channels),
        "delta": delta * uniform(batch, length, channels),
        "A": -decay * uniform(channels, states) - 1e-3,
        "B": normal(batch, length, states),
        "C": normal(batch, length, states),
        "C_at": normal(batch, states),
        "D": normal(channels),
        "position": torch.randint(0, length, (batch,), generator=draw),
    }
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in given.items()}


def scan_results(backend, given, at, reverse, dtype):
    """Return the output ``y`` of a scan and the gradients of its inputs, by name.

    Args:
        backend: a module with ``selective_scan`` and ``scan_at``.
        given: what :func:`scan_inputs` returns.
        at: read the scan at ``position`` instead of everywhere.
        reverse: scan from the last slot to the first.
        dtype: of the inputs.
    """
    names = ["x", "delta", "A", "B", "C_at" if at else "C", "D"]
    inputs = [given[name].detach().to(dtype).requires_grad_() for name in names]
    if at:
        y = backend.scan_at(*inputs, ops.Walk(given["position"], given["x"].shape[1], reverse))
    else:
        y = backend.selective_scan(*inputs, reverse)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (y * weight.to(y.device, dtype)).sum().backward()
    return {"y": y.detach(), **{name: tensor.grad for name, tensor in zip(names, inputs, strict=True)}}


def assert_close(found, expected, tolerance, least=1e-30):
    """Compare tensors by name; an error is relative to the largest expected entry, at least ``least``. NaN fails."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max().clamp(min=least)
        error = float((found[name].double() - value).abs().max() / scale)
        assert error <= tolerance, f"{name}: relative error {error:.1e}"
