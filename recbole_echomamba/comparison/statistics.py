"""Whether a row of a comparison differs from the baseline by more than chance: paired tests over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.system.errors import UserError


@dataclass
class Difference:
    """A row against the baseline on NDCG per user: mean difference, its 95% interval, Holm's p and the effect size."""

    label: str
    mean: float
    low: float
    high: float
    p: float
    effect: float


def ndcg_per_target(ranks: pd.DataFrame, k: int) -> pd.Series:
    """NDCG@k by user and target, averaged over seeds: ``1 / log2(rank + 1)`` up to rank ``k``, else 0."""
    gain = np.where(ranks["rank"] <= k, 1 / np.log2(ranks["rank"] + 1), 0.0)
    return pd.Series(gain, index=pd.MultiIndex.from_frame(ranks[["user", "item"]])).groupby(level=[0, 1]).mean()


def differences(comparison: Comparison, k: int) -> list[Difference]:
    """Every row against the baseline: a paired t-test over users, two-sided, Holm-corrected over the rows.

    The seeds of a model are averaged per user first, so that the number of seeds does not pass for evidence. Users are in
    the hundreds or more, where the mean of the differences is normal enough for the t-test though they are mostly zero.
    """
    if comparison.baseline is None:
        return []
    theirs = ndcg_per_target(comparison.ranks(comparison.baseline), k)
    labels = [label for label in comparison.results if label != comparison.baseline]
    raw = []
    for label in labels:
        ours = ndcg_per_target(comparison.ranks(label), k)
        if not ours.index.equals(theirs.index):
            raise UserError(f"{label} and {comparison.baseline} were tested on different targets")
        raw.append(paired_difference(label, (ours - theirs).to_numpy()))
    for difference, p in zip(raw, holm([difference.p for difference in raw]), strict=True):
        difference.p = p
    return raw


def paired_difference(label: str, values: np.ndarray) -> Difference:
    """The t-test of ``values [users]`` against a mean of zero, and Cohen's d for paired samples, mean over deviation."""
    from scipy import stats

    deviation = values.std(ddof=1)
    if np.ptp(values) == 0:  # where the deviation may still come out as 1e-17
        return Difference(label, values[0], values[0], values[0], 1.0 if values[0] == 0 else 0.0, np.nan)
    tested = stats.ttest_1samp(values, 0.0)
    low, high = tested.confidence_interval(0.95)
    return Difference(label, values.mean(), low, high, float(tested.pvalue), values.mean() / deviation)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics, 1979): family-wise, in the order given."""
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(steps))
    return corrected.tolist()
