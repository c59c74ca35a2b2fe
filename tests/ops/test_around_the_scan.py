"""The operations before and after the scan: every backend against plain PyTorch in float64, forward and every gradient."""

import os
import subprocess
import sys

import pytest
import torch

from recbole_echomamba import ops
from recbole_echomamba.ops import numba, reference

REVERSE = pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])


def normal(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).double()


def results(function, inputs, dtype=torch.float64):
    """The outputs and the gradients of all inputs for a fixed random weighting of the outputs."""
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    outputs = function(*leaves)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    loss = sum((out * normal(*out.shape, seed=9 + i).to(dtype)).sum() for i, out in enumerate(outputs))
    return [*(out.detach() for out in outputs), *torch.autograd.grad(loss, leaves)]


def assert_all_close(found, expected, tolerance):
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        error = float((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-30))
        assert error <= tolerance, f"result {number}: relative error {error:.1e}"


TOLERANCES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12)], ids=["fp32", "fp64"]
)


@REVERSE
@TOLERANCES
@pytest.mark.parametrize("taps", [1, 4, 7])
def test_the_convolution_agrees_with_torch(taps, dtype, tolerance, reverse):
    inputs = [normal(3, 5, 6), normal(6, 1, taps, seed=1), normal(6, seed=2)]
    walk = ops.Walk.over_all(3, 5, "cpu", reverse)
    found = results(lambda *i: numba.conv_silu(*i, walk), inputs, dtype)
    assert_all_close(found, results(lambda *i: reference.conv_silu(*i, walk), inputs), tolerance)


@TOLERANCES
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 4, 128), (500, 3, 20)], ids=str)
def test_step_sizes_agree_with_torch(shape, dtype, tolerance):
    tokens, rank, channels = shape
    inputs = [normal(tokens, rank), normal(channels, rank, seed=1), 3 * normal(channels, seed=2)]
    expected = results(reference.step_sizes, inputs)
    assert_all_close(results(numba.step_sizes, inputs, dtype), expected, tolerance)


def test_step_sizes_stay_positive_and_finite_at_the_ends():
    ends = torch.tensor([-50.0, -20.0, 0.0, 20.0, 100.0, 1e30])
    found = numba.step_sizes(ends[:, None], torch.ones(1, 1), torch.zeros(1))
    expected = torch.nn.functional.softplus(ends.double())[:, None]
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=0)


@TOLERANCES
@pytest.mark.parametrize("residual", [True, False], ids=["residual", "alone"])
@pytest.mark.parametrize("shape", [(1, 3), (40, 64), (3, 50, 20)], ids=str)
def test_dropout_norm_without_dropout_agrees_with_torch(shape, residual, dtype, tolerance):
    inputs = [
        normal(*shape),
        normal(shape[-1], seed=1),
        normal(shape[-1], seed=2),
        *([normal(*shape, seed=3)] * residual),
    ]

    def through(backend):
        return lambda x, weight, bias, r=None: backend.dropout_norm(x, r, weight, bias, 0.0, 1e-5)

    expected = results(through(reference), inputs)
    assert_all_close(results(through(numba), inputs, dtype), expected, tolerance)


def kept_by_dropout(shape, p, seed):
    """Where a gradient reaches the input."""
    x, weight = normal(*shape).requires_grad_(), torch.ones(shape[-1], dtype=torch.float64)
    torch.manual_seed(seed)
    out = numba.dropout_norm(x, None, weight, torch.zeros_like(weight), p, 1e-12)
    return torch.autograd.grad((out * normal(*shape, seed=7)).sum(), x)[0] != 0


def test_dropout_drops_each_entry_with_its_probability_by_torchs_seed():
    shape, error = (2000, 32), 0.4 / 64_000**0.5  # the standard error of the share of kept entries
    kept = kept_by_dropout(shape, 0.2, seed=1)
    assert abs(kept.double().mean() - 0.8) < 4 * error
    assert torch.equal(kept, kept_by_dropout(shape, 0.2, seed=1))
    assert abs((kept == kept_by_dropout(shape, 0.2, seed=2)).double().mean() - (0.64 + 0.04)) < 5 * error
    # neighbours are independent, along a row and from row to row
    for a, b in ((kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1])):
        assert abs((a & b).double().mean() - 0.64) < 5 * error


def test_the_gradient_of_dropout_norm_passes_where_the_forward_pass_did():
    x, weight, bias = normal(6, 20), normal(20, seed=1), normal(20, seed=2)

    def forward(*inputs):
        torch.manual_seed(4)
        return numba.dropout_norm(inputs[0], inputs[3], inputs[1], inputs[2], 0.3, 1e-5)

    assert torch.autograd.gradcheck(
        forward, [tensor.requires_grad_() for tensor in (x, weight, bias, normal(6, 20, seed=3))]
    )


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_the_gradients_of_the_spectral_filter_are_those_of_autograd(length):
    inputs = [normal(3, length, 4), normal(length // 2 + 1, 4, 2, seed=1)]

    def plain(x, weight):
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(weight)
        return torch.fft.irfft(spectrum, n=length, dim=1, norm="ortho")

    assert_all_close(results(ops.spectral_filter, inputs), results(plain, inputs), 1e-12)


@pytest.mark.parametrize("directions", [(False,), (True,), (False, True)], ids=["ahead", "reverse", "both"])
@pytest.mark.parametrize("used", ["all", "at", "walks"])
def test_packed_walks_give_what_padded_ones_give(directions, used):
    position = torch.tensor([0, 8, 3, 3, 7, 1])
    sizes = [(6, 9, 5), (5, 1, 4), (5,), (5, 2), (5,), (5, 3), (6, 3), (3, 5), (5,)]
    inputs = [normal(*size, seed=seed) for seed, size in enumerate(sizes)]

    def through(backend):
        def compute(tokens, taps, tap_bias, dt_weight, dt_bias, A_log, C, B_weight, D):
            at, walks = backend.walks_from(tokens, position, directions)
            outputs = [at] if used != "walks" else []
            for walked, walk in walks if used != "at" else []:
                x, x_at = backend.conv_silu(walked, taps, tap_bias, walk)
                delta = backend.step_sizes(x[..., :2], dt_weight, dt_bias)
                B = torch.nn.functional.linear(x, B_weight)
                outputs += [x_at, backend.scan_at(x, delta, -torch.exp(A_log), B, C, D, walk)]
            return outputs

        return compute

    if used == "at":
        inputs = inputs[:1]
        both = [results(lambda t, b=b: through(b)(t, *[None] * 8), inputs) for b in (reference, numba)]
    else:
        both = [results(through(b), inputs) for b in (reference, numba)]
    assert_all_close(both[1], both[0], 1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_computes_too():
    code = """
import os, torch
from recbole_echomamba.ops import numba
torch.set_num_threads(3)
inputs = torch.randn(90, 2), torch.randn(8, 2), torch.randn(8)
expected = numba.step_sizes(*inputs)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(numba.step_sizes(*inputs), expected) else 1)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", done.stderr
