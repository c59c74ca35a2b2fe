"""State the outcome of a comparison in sentences: who is ahead, by how much, by more than chance or not, and what to mind."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataset_prep.words import count
from recbole_echomamba.comparison.compare import Comparison
from recbole_echomamba.comparison.contenders import has_fixed_loss
from recbole_echomamba.comparison.statistics import Difference, format_p
from recbole_echomamba.config.config import Config

LEVEL = 0.05
"""A difference is called more than chance where its corrected p value is below this."""


@dataclass
class Verdict:
    """Hold what a comparison says, in plain text.

    Attributes:
        headline: who is ahead, by how much, and whether by more than chance.
        details: the figures behind it, and what to mind when reading it, a paragraph each.
    """

    headline: str
    details: list[str] = field(default_factory=list)


def reach_verdict(comparison: Comparison, differences: list[Difference], k: int) -> Verdict:
    """State the outcome by the paired tests of the report.

    Args:
        comparison: the results.
        differences: the tests of NDCG@k against the baseline, see :func:`.compare_with_baseline`.
        k: the cutoff.
    """
    cautions = [*describe_missing(comparison), *_describe_rising(comparison), *_describe_unequal_rows(comparison)]
    if not differences:
        label = next(iter(comparison.results))
        score = comparison.test_metric(label, f"ndcg@{k}").mean()
        seeds = f"Seeds: {list_seeds(comparison)}."
        return Verdict(
            f"{label} has a test NDCG@{k} of {score:.4f}; there is no other row to compare with.", [seeds, *cautions]
        )
    lead = find_lead(differences, comparison.baseline)
    winner, loser = (comparison.test_metric(label, f"ndcg@{k}").mean() for label in (lead.winner, lead.loser))
    relative = f" ({lead.mean / loser:+.1%})" if loser else ""
    if lead.p < LEVEL:
        headline = f"{lead.winner} is ahead of {lead.loser} by {lead.mean:.4f} NDCG@{k}{relative}, more than chance over users."
    elif lead.mean == 0:
        headline = f"{lead.winner} and {lead.loser} have the same test NDCG@{k}: none is ahead."
    else:
        headline = (
            f"{lead.winner} has the highest test NDCG@{k}, but its lead of {lead.mean:.4f}{relative} over {lead.loser} may be "
            "chance."
        )
    corrected = f", corrected for {len(differences)} tests" if len(differences) > 1 else ""
    figures = (
        f"Test NDCG@{k} {winner:.4f} against {loser:.4f}; 95% interval of the difference {lead.low:+.4f} to {lead.high:+.4f}, "
        f"p {format_p(lead.p, '= ')} by a paired t-test over {lead.users:,} users{corrected}."
    )
    details = [
        figures,
        *_describe_other_rows(differences, lead, comparison.baseline),
        _describe_seeds(comparison, lead, k),
    ]
    return Verdict(headline, details + cautions)


@dataclass
class Lead:
    """Hold the tested difference between the row with the highest test score and the one that it was tested with.

    ``mean``, ``low``, ``high``, ``p`` and ``users`` are those of :class:`.Difference`, winner minus loser.
    """

    winner: str
    loser: str
    mean: float
    low: float
    high: float
    p: float
    users: int


def find_lead(differences: list[Difference], baseline: str) -> Lead:
    """Return the lead of the best row over the baseline; where the baseline is best, its lead over the next row."""
    best = max(differences, key=lambda difference: difference.mean)
    if best.mean >= 0:
        return Lead(best.label, baseline, best.mean, best.low, best.high, best.p, best.users)
    return Lead(baseline, best.label, -best.mean, -best.high, -best.low, best.p, best.users)


def describe_missing(comparison: Comparison) -> list[str]:
    """Return a sentence that names the requested runs without a result, or no sentence when there are none."""
    if not comparison.missing:
        return []
    listed = ", ".join(f"{label} with seed {seed}" for label, seed in comparison.missing)
    return [f"Not finished, and not in this report: {listed}."]


def list_seeds(comparison: Comparison) -> str:
    """Return the seeds once where all rows have the same ones, otherwise for each row."""
    by_label = {}
    for label, results in comparison.results.items():
        by_label[label] = ", ".join(str(result["seed"]) for result in results)
    if len(set(by_label.values())) == 1:
        return next(iter(by_label.values()))
    return "; ".join(f"{seeds} of {label}" for label, seeds in by_label.items())


def list_forms(config: Config) -> list[str]:
    """Return what a row reads, and how it is trained, where that is not the default of its model."""
    forms = []
    if config["causal"]:
        forms.append("is the causal variant")
    if config["dropout_residual"] is False:
        forms.append("keeps dropout off the residual of its unit")
    if config["train_positions"] == "all":
        forms.append("is trained on all positions of a history at once")
    if config["time_gaps"]:
        forms.append("reads the time between items")
    return forms


def list_changes(config: Config, common: Config) -> list[str]:
    """Return the settings of a variant that differ from those of the first row, with their values."""
    if config["variant"] is None:
        return []
    return [f"{k} {v}" for k, v in config.settings.items() if k != "variant" and v != common.settings.get(k)]


def _describe_other_rows(differences: list[Difference], lead: Lead, baseline: str) -> list[str]:
    """Return a sentence on the rows that are not in the headline, or no sentence when there are none."""
    rest = [difference for difference in differences if difference.label not in (lead.winner, lead.loser)]
    if not rest:
        return []
    groups = {
        "above it by more than chance": [d.label for d in rest if d.p < LEVEL and d.mean > 0],
        "below it by more than chance": [d.label for d in rest if d.p < LEVEL and d.mean <= 0],
        "different by what may be chance": [d.label for d in rest if d.p >= LEVEL],
    }
    listed = "; ".join(f"{outcome}: {', '.join(labels)}" for outcome, labels in groups.items() if labels)
    return [f"The other rows, each tested against {baseline} only: {listed}."]


def _describe_seeds(comparison: Comparison, lead: Lead, k: int) -> str:
    """Say how many seeds the lead rests on: the test is over users, not over seeds."""
    sentence = f"Seeds: {list_seeds(comparison)}."
    single = [label for label in (lead.winner, lead.loser) if len(comparison.results[label]) == 1]
    if single:
        return (
            f"{sentence} {' and '.join(single)} ran with one seed only: the test is over users and cannot say whether the "
            "lead is larger than what another seed changes."
        )
    winner, loser = (
        {result["seed"]: result["test_result"][f"ndcg@{k}"] for result in comparison.results[label]}
        for label in (lead.winner, lead.loser)
    )
    common = winner.keys() & loser.keys()
    if not common:
        return sentence
    ahead = sum(winner[seed] > loser[seed] for seed in common)
    return f"{sentence} {lead.winner} is ahead of {lead.loser} with {ahead} of {count(len(common), 'seed')}."


def _describe_rising(comparison: Comparison) -> list[str]:
    """Return a sentence that names the runs whose last validation was their best, or no sentence when there are none."""
    rising = []
    for label, results in comparison.results.items():
        seeds = [str(result["seed"]) for result in results if _ends_at_its_best(result)]
        if seeds:
            rising.append(f"{label} with {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}")
    if not rising:
        return []
    direction = "rising" if comparison.first_result["valid_score_bigger"] else "falling"
    return [f"Still {direction} when its epochs were over: {'; '.join(rising)}. More epochs may change the outcome."]


def _ends_at_its_best(result: dict) -> bool:
    """Return whether the best validation of a run was its last."""
    validated = [entry["epoch"] for entry in result["history"] if "valid_score" in entry]
    return bool(validated) and validated[-1] == result["best_epoch"]


def _describe_unequal_rows(comparison: Comparison) -> list[str]:
    """Return a sentence on how rows differ besides the model: in what they read, or how they are trained; or none."""
    hashes = {label: results[0]["data_hash"] for label, results in comparison.results.items()}
    first_hash = next(iter(hashes.values()))
    peculiar = {}
    for label, config in comparison.configs.items():
        changes = list_changes(config, comparison.first_config)
        peculiar[label] = [f"has {', '.join(changes)}"] if changes else []
        peculiar[label] += list_forms(config)
        if has_fixed_loss(config):
            peculiar[label].append("is trained with a loss of its own")
        if hashes[label] != first_hash:
            peculiar[label].append("reads other files of the dataset")
    shared = set.intersection(*map(set, peculiar.values())) if peculiar else set()
    sentences = []
    for label, phrases in peculiar.items():
        own = [phrase for phrase in phrases if phrase not in shared]
        if own:
            sentences.append(f"{label} {' and '.join(own)}")
    return [f"The rows differ in more than the model: {'; '.join(sentences)}."] if sentences else []
