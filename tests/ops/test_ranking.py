"""Ranks and top items by blocks equal those of the complete scores, ties included."""

import pytest
import torch

from recbole_echomamba.ops import linear_rank, linear_top_k, ranking, top_k

ROWS, ITEMS, WIDTH = 37, 103, 8


@pytest.fixture(params=[(1, 1), (16, 8), (64, 50), (64, 256)], ids=str, autouse=True)
def block(request, monkeypatch):
    monkeypatch.setitem(ranking.BLOCK, "cpu", request.param)


@pytest.fixture(params=["distinct", "tied"])
def inputs(request):
    """Vectors whose products are exact, so that blocks cannot round otherwise; among the tied ones many scores are equal."""
    torch.manual_seed(0)
    largest = 2 if request.param == "tied" else 1000
    vectors = torch.randint(-largest, largest + 1, (ROWS + ITEMS, WIDTH)).float()
    return vectors[:ROWS], vectors[ROWS:]


def random_cells():
    return torch.randint(0, ROWS, (400,)), torch.randint(0, ITEMS, (400,))


def in_order(scores, k):
    best, items = scores.sort(dim=1, descending=True, stable=True)
    return best[:, :k], items[:, :k]


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)
    real = expected[0] > -torch.inf
    assert torch.equal(found[1][real], expected[1][real])


@pytest.mark.parametrize("k", [1, 10, 102, 103, 200])
def test_the_top_items_are_those_of_the_complete_scores_the_smaller_number_first(inputs, k):
    encoded, weight = inputs
    assert_same(linear_top_k(encoded, weight, k), in_order(encoded @ weight.T, k))


@pytest.mark.parametrize("n_allowed", [1, 5, 60])
def test_items_that_are_excluded_or_not_allowed_are_left_out(inputs, n_allowed):
    encoded, weight = inputs
    allowed = torch.zeros(ITEMS, dtype=torch.bool)
    allowed[torch.randperm(ITEMS)[:n_allowed]] = True
    excluded = random_cells()
    scores = (encoded @ weight.T).masked_fill(~allowed, -torch.inf)
    scores[excluded] = -torch.inf
    assert_same(linear_top_k(encoded, weight, 10, allowed, excluded), in_order(scores, 10))


def test_of_equal_scores_the_first_come_first():
    scores = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0], [3.0, 1.0, 2.0, 5.0, 4.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert top_k(scores, 2)[1].tolist() == [[1, 2], [3, 4], [0, 1]]


def test_ranks_count_every_tie_and_the_seen_items_apart(inputs):
    encoded, weight = inputs
    target = torch.randint(0, ITEMS, (ROWS,))
    rows, items = random_cells()
    # the target itself may be among the seen items
    seen = torch.cat([rows, torch.arange(9)]), torch.cat([items, target[:9]])
    scores = encoded @ weight.T
    at_target = scores.gather(1, target[:, None])
    rank, tied, seen_at_least = linear_rank(encoded, weight, target, seen)
    assert torch.equal(rank, (scores >= at_target).sum(1))
    assert torch.equal(tied, (scores == at_target).sum(1) > 1)
    counted = (scores[seen] >= at_target[seen[0], 0]) & (seen[1] != target[seen[0]])
    assert torch.equal(seen_at_least, torch.bincount(seen[0][counted], minlength=ROWS))


def test_a_rank_is_at_least_one_however_the_products_round():
    torch.manual_seed(0)
    weight = torch.randn(ITEMS, WIDTH)
    target = torch.arange(ROWS)
    rank, tied, _ = linear_rank(100 * weight[:ROWS], torch.nn.functional.normalize(weight), target)
    assert rank.tolist() == [1] * ROWS
    assert not tied.any()


def test_items_with_equal_weights_tie_however_the_products_round():
    torch.manual_seed(0)
    weight = torch.randn(ITEMS // 2, WIDTH).repeat(2, 1)
    target = torch.randint(0, len(weight), (ROWS,))
    rank, tied, _ = linear_rank(torch.randn(ROWS, WIDTH), weight, target)
    assert tied.all()
    assert (rank % 2 == 0).all()
