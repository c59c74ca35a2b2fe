"""The sampled cross-entropy estimates the full one, and equals it where every class is in the sample; samples by strata."""

import math

import pytest
import torch
import torch.nn.functional as F

from recbole_echomamba.ops import ClassSampler, cross_entropy, sampled_cross_entropy
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
    """The loss by one sample ``[K]``, or by several ``[S, K]``."""
    sampled = sampled.reshape(-1, sampled.shape[-1])
    log_expected = log_expected.expand(sampled.shape)
    return sampled_cross_entropy(encoded, weight[target], weight[sampled], target, sampled, log_expected)


def draw_one(sampler):
    sampled, log_expected = sampler.draw(1)
    return sampled[0], log_expected[0]


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


@pytest.mark.parametrize("samples", [2, 5])
def test_rows_take_turns_with_the_samples(inputs, samples):
    encoded, weight, target = inputs
    sampled, log_expected = ClassSampler(torch.ones(CLASSES), 12).draw(samples)
    losses = []
    for sample in range(samples):
        rows, classes = encoded[sample::samples], target[sample::samples]
        loss = sampled_loss(rows, weight, classes, sampled[sample], log_expected[sample].double())
        losses.append(loss * len(rows))
    loss = sampled_loss(*inputs, sampled, log_expected.double())
    assert_close(with_gradients(loss, encoded, weight), with_gradients(sum(losses) / ROWS, encoded, weight), 1e-12)


@pytest.mark.parametrize("distribution", ["uniform", "skewed"])
def test_the_estimate_of_the_normalizer_is_unbiased(inputs, distribution):
    encoded, weight, target = inputs
    odds = torch.ones(CLASSES) if distribution == "uniform" else 1 / torch.arange(1.0, CLASSES + 1)
    sampler = ClassSampler(odds, 10)
    n_draws = 4000
    sums = []
    for _ in range(n_draws):
        sampled, log_expected = draw_one(sampler)
        logits = encoded[0] @ weight[sampled].T - log_expected
        sums.append(logits.masked_fill(sampled == target[0], -torch.inf).exp().sum().item())
    others = (encoded[0] @ weight.T).exp()
    expected = (others.sum() - others[target[0]]).item()
    mean, deviation = torch.tensor(sums).mean().item(), torch.tensor(sums).std().item()
    assert abs(mean - expected) < 4 * deviation / math.sqrt(n_draws)


def test_a_class_is_drawn_as_often_as_expected_and_one_without_weight_never():
    weights = torch.tensor([3.0, 0.0, 1.0, 2.0, 1.0, 1.0, 100.0])
    sampler, n_draws = ClassSampler(weights, 3), 4000
    counts = torch.zeros(len(weights))
    expected = torch.zeros(len(weights))
    for _ in range(n_draws):
        drawn, log_expected = draw_one(sampler)
        counts.index_add_(0, drawn, torch.ones(3))
        expected[drawn] = log_expected.exp()
    # the heaviest is in every sample; the others share two places by their weights
    assert torch.allclose(expected, torch.tensor([6 / 8, 0, 2 / 8, 4 / 8, 2 / 8, 2 / 8, 1]))
    assert torch.allclose(counts / n_draws, expected, atol=0.03)


def test_classes_that_fill_a_place_alone_are_in_every_sample_once():
    weights = torch.tensor([0.0, 1, 7, 7, 7, 1])
    for _ in range(20):
        drawn, log_expected = draw_one(ClassSampler(weights, 4))
        assert sorted(drawn.tolist())[1:] == [2, 3, 4] or sorted(drawn.tolist())[:3] == [2, 3, 4]
        assert sorted(log_expected.tolist()) == pytest.approx([math.log(0.5), 0, 0, 0])
    drawn, log_expected = draw_one(ClassSampler(weights, 5))
    assert sorted(drawn.tolist()) == [1, 2, 3, 4, 5]
    assert log_expected.tolist() == [0] * 5


def test_half_precision_stays_close(inputs):
    encoded, weight, target = (each.detach().float() if each.is_floating_point() else each for each in inputs)
    sampled, log_expected = torch.arange(0, CLASSES, 2), torch.tensor(-0.7)
    expected = sampled_loss(encoded, weight, target, sampled, log_expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = sampled_loss(encoded, weight, target, sampled, log_expected)
    assert found.item() == pytest.approx(expected.item(), rel=2e-2)
