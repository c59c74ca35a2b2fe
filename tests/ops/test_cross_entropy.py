import pytest
import torch
import torch.nn.functional as F

from recbole_echomamba.ops import cross_entropy
from tests.ops.numerics import assert_close, normal, results

TARGET = torch.tensor([3, 0, 499, 7, 7, 20, 1])
INPUTS = [normal(7, 16), normal(500, 16, seed=1)]


def plain(encoded, weight):
    return F.cross_entropy(encoded @ weight.T, TARGET)


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_a_few_rows_at_a_time_give_the_loss_and_gradients_of_all_at_once(monkeypatch, rows):
    monkeypatch.setattr(cross_entropy, "LOGITS_BYTES", rows * 4 * 500)

    def ours(encoded, weight):
        return cross_entropy.linear_cross_entropy(encoded, weight, TARGET)

    assert_close(results(ours, INPUTS, torch.float32), results(plain, INPUTS), 1e-6)


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_chunks_for_older_versions_of_torch_do_the_same(rows):
    def ours(encoded, weight):
        return cross_entropy.in_chunks(encoded, weight, TARGET, rows)

    assert_close(results(ours, INPUTS), results(plain, INPUTS), 1e-12)


def test_under_autocast_the_chunks_are_used(monkeypatch):
    monkeypatch.setattr(cross_entropy, "LOGITS_BYTES", 3 * 4 * 500)
    encoded, weight = (tensor.float().requires_grad_() for tensor in INPUTS)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy.linear_cross_entropy(encoded, weight, TARGET)
    loss.backward()
    assert abs(loss.item() - plain(*INPUTS).item()) < 0.1
    assert torch.isfinite(weight.grad).all()
