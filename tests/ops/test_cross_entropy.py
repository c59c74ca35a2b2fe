import pytest
import torch
import torch.nn.functional as F

from recbole_echomamba.ops import cross_entropy
from tests.ops.numerics import assert_close, normal, results

TARGET = torch.tensor([3, 0, 499, 7, 7, 20, 1])
INPUTS = [normal(7, 16), normal(500, 16, seed=1)]


def plain(encoded, weight):
    return F.cross_entropy(encoded @ weight.T, TARGET)


def ours(encoded, weight):
    return cross_entropy.linear_cross_entropy(encoded, weight, TARGET)


@pytest.fixture(params=[1, 3, 7, 100])
def rows(request, monkeypatch):
    """The number of rows in a block."""
    monkeypatch.setattr(cross_entropy, "MIN_ROWS", 1)
    monkeypatch.setitem(cross_entropy.BLOCK_BYTES, "cpu", request.param * 4 * 500)
    return request.param


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_a_block_at_a_time_gives_the_loss_and_gradients_of_all_at_once(rows, dtype, tolerance):
    assert_close(results(ours, INPUTS, dtype), results(plain, INPUTS), tolerance)


@pytest.mark.parametrize("scale", [1e-30, 300.0, 1e4])
def test_large_and_tiny_logits_neither_overflow_nor_lose_the_loss(scale):
    inputs = [INPUTS[0] * scale, INPUTS[1]]
    # logits in the thousands are rounded to 1e-4 in float32
    assert_close(results(ours, inputs, torch.float32), results(plain, inputs), 1e-3 if scale > 1 else 2e-6)


def test_without_gradients_only_the_loss_is_computed():
    with torch.no_grad():
        loss = ours(*INPUTS)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, plain(*INPUTS))


def test_under_autocast_products_are_in_half_precision_and_sums_are_not():
    encoded, weight = (tensor.float().requires_grad_() for tensor in INPUTS)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy.linear_cross_entropy(encoded, weight, TARGET)
    loss.backward()
    assert loss.dtype == weight.grad.dtype == encoded.grad.dtype == torch.float32
    exact = [tensor.detach().requires_grad_() for tensor in INPUTS]
    expected = plain(*exact)
    expected.backward()
    names = ("loss", "encoded", "weight")
    found = dict(zip(names, (loss.detach(), encoded.grad, weight.grad), strict=True))
    assert_close(found, dict(zip(names, (expected.detach(), *(leaf.grad for leaf in exact)), strict=True)), 2e-2)
