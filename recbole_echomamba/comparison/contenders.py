"""Define the rows of a comparison, and check that they can be compared."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from recbole.model.abstract_recommender import SequentialRecommender

from recbole_echomamba.config.config import Config
from recbole_echomamba.config.model_names import class_name
from recbole_echomamba.config.settings_files import NAMED_VALUES, parse_value
from recbole_echomamba.system.errors import UserError

MUST_MATCH = (
    "eval_args",
    "metrics",
    "topk",
    "valid_metric",
    "repeatable",
    "MAX_ITEM_LIST_LENGTH",
    "normalize_all",
    "user_inter_num_interval",
    "item_inter_num_interval",
    "rm_dup_inter",
    "val_interval",
    "threshold",
    "loss_type",
    "epochs",
    "train_batch_size",
    "learner",
    "stopping_step",
    "eval_step",
)
"""Settings that must be the same for every model: the data, how they are split and scored, the loss and the budget.
A variant may change them, unless they are in :data:`FIXED_FOR_VARIANTS`."""

FIXED_FOR_VARIANTS = {
    "data_path",
    "load_col",
    "user_inter_num_interval",
    "item_inter_num_interval",
    "val_interval",
    "rm_dup_inter",
    "filter_inter_by_user_or_item",
    "exact_time_order",
    "eval_args",
    "metrics",
    "topk",
    "valid_metric",
    "train_on",
    "seed",
}
"""Settings that a variant cannot change: they decide on which targets it is tested, and how."""


@dataclass
class Contender:
    """A row of a comparison: a model with the common settings, or a variant of it.

    Attributes:
        model: the name or class of the model, see :func:`.get_model`.
        variant: the name of the variant; ``None`` for the model itself.
        changes: the settings in which a variant differs from the common ones.
    """

    model: str | type[SequentialRecommender]
    variant: str | None = None
    changes: dict = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of the row in tables and plots."""
        name = class_name(self.model) if isinstance(self.model, str) else self.model.__name__
        return name if self.variant is None else f"{name} ({self.variant})"


def parse_variant(text: str) -> tuple[str, dict]:
    """Parse a variant such as ``wide:hidden_size=24,topk=[5,10]`` into its name and the settings that it changes.

    Raises:
        UserError: it is not written ``NAME:KEY=VALUE,KEY=VALUE``, a setting is given twice, or the name is a word such as
            ``none``.
    """
    name, _, assignments = text.partition(":")
    # Commas within a value are not followed by a key.
    pairs = [assignment.partition("=") for assignment in re.split(r",(?=\w+=)", assignments)]
    has_name = name.isidentifier() and name.lower() not in NAMED_VALUES
    has_settings = all(key.isidentifier() and equals for key, equals, _ in pairs)
    if not has_name or not has_settings:
        raise UserError(
            f"cannot read the variant {text!r}; write NAME:KEY=VALUE,KEY=VALUE, where NAME is made of letters, digits and "
            "underscores and is not a value such as none or true"
        )
    changes = {key: parse_value(value) for key, _, value in pairs}
    if len(changes) < len(pairs):
        raise UserError(f"the variant {text!r} gives a setting twice; give each once")
    return name, changes


def parse_variants(texts: list[str]) -> dict[str, dict]:
    """Parse several variants, see :func:`parse_variant`, into the changes of each by its name.

    Raises:
        UserError: one cannot be read, or two have the same name.
    """
    variants: dict[str, dict] = {}
    for text in texts:
        name, changes = parse_variant(text)
        if name in variants:
            raise UserError(f"two variants are named {name!r}; give each --variant a name of its own")
        variants[name] = changes
    return variants


def make_contenders(models: list[str | type[SequentialRecommender]], variants: dict[str, dict]) -> list[Contender]:
    """Return the rows of a comparison: the models, then the variants of the first one.

    Raises:
        UserError: there is no model, or two rows have the same label.
    """
    if not models:
        raise UserError("there is no model to compare; name at least one with --models")
    contenders = [Contender(model) for model in models]
    contenders += [Contender(models[0], name, changes) for name, changes in variants.items()]
    labels = [contender.label for contender in contenders]
    if len(set(labels)) < len(labels):
        raise UserError(f"a model or variant is named twice: {', '.join(labels)}; name each once")
    return contenders


def check_comparable(contenders: list[Contender], configs: dict[str, Config]) -> None:
    """Check that all rows can be compared, before anything is trained.

    Args:
        contenders: the rows.
        configs: their settings by label.

    Raises:
        UserError: a variant changes one of :data:`FIXED_FOR_VARIANTS`; the evaluation has not one target per user that is
            ranked among all items, with NDCG; or rows differ in one of :data:`MUST_MATCH` that is no change of a variant.
    """
    for contender in contenders:
        _check_variant(contender)
        _check_evaluation(configs[contender.label])
    for key in MUST_MATCH:
        values = {}
        for contender in contenders:
            config = configs[contender.label]
            may_differ = key in contender.changes or (key == "loss_type" and has_fixed_loss(config))
            if not may_differ:
                values[contender.label] = config[key]
        if len({json.dumps(value, default=str) for value in values.values()}) > 1:
            listed = ", ".join(f"{value!r} for {label}" for label, value in values.items())
            raise UserError(f"{key} is {listed}: the comparison would not be fair; pass --{key}=VALUE for all of them")


def has_fixed_loss(config: Config) -> bool:
    """Return whether a model, such as FPMC, can only be trained with its own loss and ignores ``loss_type``."""
    return getattr(config.model_class, "input_type", None) is not None or config["loss_type"] is None


def _check_variant(contender: Contender) -> None:
    changed = sorted(FIXED_FOR_VARIANTS & set(contender.changes))
    if changed:
        raise UserError(
            f"the variant {contender.variant} changes {', '.join(changed)}, so it would not be tested on the same targets in "
            "the same way; change that for all rows with --KEY=VALUE"
        )


def _check_evaluation(config: Config) -> None:
    modes, split = config["eval_args"]["mode"], config["eval_args"]["split"]
    if set(modes.values() if isinstance(modes, dict) else [modes]) != {"full"}:
        raise UserError(f"a comparison ranks all items, but eval_args has the mode {modes!r}; set it to full")
    if split != {"LS": "valid_and_test"}:
        raise UserError(
            f"a comparison holds out the last two items of each user, but eval_args splits by {split}; "
            "set split to {'LS': 'valid_and_test'}"
        )
    if config["train_on"] == "all":
        raise UserError("with train_on=all nothing is held out to compare on; set train_on to train")
    if "ndcg" not in map(str.lower, config["metrics"]):
        raise UserError(f"a comparison tests differences in NDCG, but metrics are {config['metrics']}; add NDCG")
