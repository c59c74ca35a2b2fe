"""The sampled cross-entropy estimates the full one, and equals it where every class is in the sample."""

import math

import pytest
import torch
import torch.nn.functional as F

from recbole_echomamba.ops import cross_entropy, sampled_cross_entropy
from tests.ops.numerics import assert_close

CLASSES, ROWS, WIDTH = 50, 37, 8


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    encoded = torch.randn(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(CLASSES, WIDTH, dtype=torch.float64, requires_grad=True)
    return encoded, weight, torch.randint(0, CLASSES, (ROWS,))


def with_gradients(loss, encoded, weight):
    dencoded, dweight = torch.autograd.grad(loss, (encoded, weight))
    return {"loss": loss.detach(), "dencoded": dencoded, "dweight": dweight}


def sampled_loss(encoded, weight, target, sampled, log_expected):
    return sampled_cross_entropy(encoded, weight[target], weight[sampled], target, sampled, log_expected)


@pytest.mark.parametrize("rows_of_block", [1, 16, 64])
def test_with_every_class_in_the_sample_it_is_the_full_cross_entropy(inputs, rows_of_block, monkeypatch):
    monkeypatch.setattr("recbole_echomamba.ops.sampled_softmax.MIN_ROWS", 1)
    monkeypatch.setitem(cross_entropy.BLOCK_BYTES, "cpu", rows_of_block * 4 * CLASSES)
    encoded, weight, target = inputs
    loss = sampled_loss(*inputs, torch.randperm(CLASSES), torch.tensor(0.0, dtype=torch.float64))
    expected = F.cross_entropy(encoded @ weight.T, target)
    assert_close(with_gradients(loss, encoded, weight), with_gradients(expected, encoded, weight), 1e-12)


def test_gradients_are_those_of_the_formula_written_out(inputs):
    encoded, weight, target = inputs
    sampled = torch.randint(0, CLASSES, (20,))
    log_expected = torch.randn(20, dtype=torch.float64)
    at_target = (encoded * weight[target]).sum(1, keepdim=True)
    logits = encoded @ weight[sampled].T - log_expected
    logits = torch.where(sampled == target[:, None], -torch.inf, logits)
    expected = (torch.cat([at_target, logits], 1).logsumexp(1) - at_target[:, 0]).mean()
    loss = sampled_loss(*inputs, sampled, log_expected)
    assert_close(with_gradients(loss, encoded, weight), with_gradients(expected, encoded, weight), 1e-12)


@pytest.mark.parametrize("distribution", ["uniform", "skewed"])
def test_the_estimate_of_the_normalizer_is_unbiased(inputs, distribution):
    encoded, weight, target = inputs
    odds = torch.ones(CLASSES, dtype=torch.float64)
    if distribution == "skewed":
        odds = torch.arange(1, CLASSES + 1, dtype=torch.float64)
    odds /= odds.sum()
    n_sampled, n_draws = 10, 4000
    sums = []
    for _ in range(n_draws):
        sampled = torch.multinomial(odds, n_sampled, replacement=True)
        logits = encoded[0] @ weight[sampled].T - (n_sampled * odds[sampled]).log()
        sums.append(logits.masked_fill(sampled == target[0], -torch.inf).exp().sum().item())
    others = (encoded[0] @ weight.T).exp()
    expected = (others.sum() - others[target[0]]).item()
    mean, deviation = torch.tensor(sums).mean().item(), torch.tensor(sums).std().item()
    assert abs(mean - expected) < 4 * deviation / math.sqrt(n_draws)


def test_half_precision_stays_close(inputs):
    encoded, weight, target = (each.detach().float() if each.is_floating_point() else each for each in inputs)
    sampled, log_expected = torch.arange(0, CLASSES, 2), torch.tensor(-0.7)
    expected = sampled_loss(encoded, weight, target, sampled, log_expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = sampled_loss(encoded, weight, target, sampled, log_expected)
    assert found.item() == pytest.approx(expected.item(), rel=2e-2)
