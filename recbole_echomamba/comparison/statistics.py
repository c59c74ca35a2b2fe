"""Test whether a row of a comparison differs from the baseline by more than chance, and compute deviations over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.config.checks import as_list
from recbole_echomamba.system.errors import UserError


@dataclass
class Difference:
    """Hold the difference of a row from the baseline in NDCG per user.

    Attributes:
        label: the label of the row.
        mean: the mean difference over users, row minus baseline.
        low: the lower end of the 95% confidence interval of ``mean``.
        high: the upper end of that interval.
        p: the two-sided p value.
        effect: the effect size, Cohen's d for paired samples.
        users: the number of users.
    """

    label: str
    mean: float
    low: float
    high: float
    p: float
    effect: float
    users: int


def choose_cutoff(config) -> int:
    """Return the cutoff ``k`` of the validation metric, or the largest of ``topk`` where that metric has none."""
    _, at, k = str(config["valid_metric"]).partition("@")
    return int(k) if at else max(as_list(config["topk"]))


def compare_with_baseline(comparison: Comparison, k: int, column: str = "rank") -> list[Difference]:
    """Test each row of a comparison but the baseline, by :func:`compare_ranks`.

    Args:
        comparison: the results.
        k: the cutoff.
        column: ``rank``, among all items, or ``rank_unseen``, among those that the user has not interacted with before.

    Returns:
        One difference for each row, in the order of ``comparison.results``; none where there is no baseline.

    Raises:
        UserError: a row and the baseline were tested on different targets.
    """
    if comparison.baseline is None:
        return []
    return compare_ranks(comparison.results, comparison.baseline, comparison.ranks, k, column)


def compare_ranks(
    labels: Iterable[str], baseline: str, ranks: Callable[[str], pd.DataFrame], k: int, column: str = "rank"
) -> list[Difference]:
    """Test rows against a baseline: a paired t-test over users on NDCG@k, two-sided, Holm-corrected over the rows.

    The NDCG of each user is averaged over the seeds of a model first: users are the sample, and more seeds do not make it
    larger. Most differences are zero, but with hundreds of users and more their mean is close enough to normal for the
    t-test.

    Args:
        labels: those of all rows; that of the baseline is left out.
        baseline: the label of the row that the others are tested against.
        ranks: gives the ranks of a row, see :func:`compute_ndcg_per_target`.
        k: the cutoff.
        column: see :func:`compare_with_baseline`.

    Returns:
        One difference for each row, in the order of ``labels``.

    Raises:
        UserError: a row and the baseline were tested on different targets.
    """
    expected = compute_ndcg_per_target(ranks(baseline), k, column)
    differences = []
    for label in labels:
        if label == baseline:
            continue
        ndcg = compute_ndcg_per_target(ranks(label), k, column)
        if not ndcg.index.equals(expected.index):
            raise UserError(f"{label} and {baseline} were tested on different targets; run both on the same data")
        differences.append(run_paired_test(label, (ndcg - expected).to_numpy()))
    corrected = correct_by_holm([difference.p for difference in differences])
    for difference, p in zip(differences, corrected, strict=True):
        difference.p = p
    return differences


def compute_ndcg_per_target(ranks: pd.DataFrame, k: int, column: str = "rank") -> pd.Series:
    """Compute NDCG@k for each user and target, averaged over seeds: ``1 / log2(rank + 1)`` up to rank ``k``, else 0.

    Args:
        ranks: columns ``user, item`` and ``column``, with one row for each target and seed; ranks start at 1.
        k: the cutoff.
        column: the column with the ranks.

    Returns:
        The NDCG, indexed by ``user, item`` in sorted order.
    """
    gain = np.where(ranks[column] <= k, 1 / np.log2(ranks[column] + 1), 0.0)
    return pd.Series(gain, index=pd.MultiIndex.from_frame(ranks[["user", "item"]])).groupby(level=[0, 1]).mean()


def run_paired_test(label: str, values: np.ndarray) -> Difference:
    """Run a two-sided t-test of differences against a mean of zero.

    Args:
        label: the label of the row, kept in the result.
        values: the difference for each user, ``[users]``.

    Returns:
        The difference with its uncorrected p value, and as effect size the mean over the standard deviation.
    """
    from scipy import stats

    # Equal values have no deviation, though rounding may give 1e-17: neither the test nor the effect size is defined.
    if np.ptp(values) == 0:
        value = values[0]
        p = 1.0 if value == 0 else 0.0
        return Difference(label, mean=value, low=value, high=value, p=p, effect=np.nan, users=len(values))
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(0.95)
    mean = values.mean()
    effect = mean / values.std(ddof=1)
    return Difference(label, mean=mean, low=low, high=high, p=float(test.pvalue), effect=effect, users=len(values))


def correct_by_holm(p_values: list[float]) -> list[float]:
    """Correct p values for their number by Holm's step-down procedure (Scandinavian Journal of Statistics, 1979).

    The family-wise error rate is controlled.

    Returns:
        The corrected p values, in the order of ``p_values``.
    """
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected.tolist()


def format_p(p: float, equals: str = "") -> str:
    """Return a p value as text, such as ``0.0123`` after ``equals``, or ``< 0.0001``."""
    return "< 0.0001" if p < 1e-4 else f"{equals}{p:.4f}"


def compute_deviation(values: np.ndarray) -> float:
    """Compute the sample standard deviation of ``values [seeds]``; 0 for a single seed."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
