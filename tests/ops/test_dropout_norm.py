import pytest
import torch

from recbole_echomamba.ops import numba, reference
from tests.ops.numerics import DTYPES, TOLERANCE, assert_close, normal, results


@DTYPES
@pytest.mark.parametrize("residual", [True, False], ids=["residual", "alone"])
@pytest.mark.parametrize("shape", [(1, 3), (40, 64), (3, 50, 20)], ids=str)
def test_dropout_norm_without_dropout_agrees_with_torch(shape, residual, dtype):
    inputs = [normal(*shape), normal(shape[-1], seed=1), normal(shape[-1], seed=2)]
    if residual:
        inputs.append(normal(*shape, seed=3))

    def through(backend):
        return lambda x, weight, bias, r=None: backend.dropout_norm(x, r, weight, bias, 0.0, 1e-5)

    expected = results(through(reference), inputs)
    assert_close(results(through(numba), inputs, dtype), expected, TOLERANCE[dtype])


def kept_by_dropout(shape, p, seed):
    """Return where a gradient reaches the input."""
    x, weight = normal(*shape).requires_grad_(), torch.ones(shape[-1], dtype=torch.float64)
    torch.manual_seed(seed)
    out = numba.dropout_norm(x, None, weight, torch.zeros_like(weight), p, 1e-12)
    return torch.autograd.grad((out * normal(*shape, seed=7)).sum(), x)[0] != 0


def test_dropout_drops_each_entry_with_its_probability_by_torchs_seed():
    shape = (2000, 32)
    # the standard error of the share of kept entries
    error = 0.4 / 64_000**0.5
    kept = kept_by_dropout(shape, 0.2, seed=1)
    assert abs(kept.double().mean() - 0.8) < 4 * error
    assert torch.equal(kept, kept_by_dropout(shape, 0.2, seed=1))
    assert abs((kept == kept_by_dropout(shape, 0.2, seed=2)).double().mean() - (0.64 + 0.04)) < 5 * error
    # neighbours are independent, along a row and from row to row
    for a, b in ((kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1])):
        assert abs((a & b).double().mean() - 0.64) < 5 * error


def test_the_gradient_of_dropout_norm_passes_where_the_forward_pass_did():
    inputs = [normal(6, 20), normal(20, seed=1), normal(20, seed=2), normal(6, 20, seed=3)]

    def forward(x, weight, bias, residual):
        torch.manual_seed(4)
        return numba.dropout_norm(x, residual, weight, bias, 0.3, 1e-5)

    assert torch.autograd.gradcheck(forward, [tensor.requires_grad_() for tensor in inputs])
