"""What we override exists in RecBole: a hook that RecBole renames or removes would otherwise never be called, silently.

OVERRIDDEN lists, for each class of ours, the methods and properties that replace one of RecBole's. A class is imported when its
test runs.
"""

import importlib
import inspect

import pytest
import torch

OVERRIDDEN = {
    "config.config.Config": (
        "_convert_config_dict",
        "_get_final_config_dict",
        "_get_model_and_dataset",
        "_init_device",
        "_init_parameters_category",
        "_load_cmd_line",
        "_load_config_files",
        "_load_internal_config_dict",
        "compatibility_settings",
    ),
    "data.compatible_dataset.CompatibleDataset": (
        "_discretization",
        "_fill_nan",
        "_get_preset",
        "_load_feat",
        "_normalize",
        "_remap",
        "get_preload_weight",
    ),
    "data.windowed_dataset.WindowedDataset": (
        "_change_feat_format",
        "_data_filtering",
        "_discretization",
        "_fill_nan",
        "_filter_by_inter_num",
        "_filter_nan_user_or_item",
        "_from_scratch",
        "_get_preset",
        "_grouped_index",
        "_load_feat",
        "_normalize",
        "_remap",
        "avg_actions_of_items",
        "avg_actions_of_users",
        "build",
        "counter",
        "get_preload_weight",
        "inter_matrix",
    ),
    "data.windowed_interaction.WindowedInteraction": ("_reindex", "columns", "drop", "sort"),
    "data.dataloader.TrainLoader": (),
    "data.dataloader.FullSortLoader": ("_init_batch_size_and_step", "collate_fn"),
    "data.dataloader.NegSampleLoader": ("_init_batch_size_and_step",),
    "training.trainer.Trainer": (
        "_build_optimizer",
        "_check_nan",
        "_full_sort_batch_eval",
        "_map_reduce",
        "_save_checkpoint",
        "_train_epoch",
        "_valid_epoch",
        "evaluate",
        "fit",
    ),
    "training.evaluation.RankCollector": ("eval_batch_collect", "get_data_struct"),
    "tuning.hyperopt_search.Search": ("_print_result", "run", "trial"),
}

REPLACED_BASES = {
    "data.dataloader.TrainLoader": "AbstractDataLoader",
    "data.dataloader.FullSortLoader": "AbstractDataLoader",
    "data.dataloader.NegSampleLoader": "AbstractDataLoader",
    "training.trainer.Trainer": "AbstractTrainer",
}
"""Classes in whose method resolution order a class of ours stands before this one of RecBole's."""


def import_class(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"recbole_echomamba.{module}"), name)


def names_defined(kind, package):
    """The methods and properties, without dunder methods, that the classes of a package in the MRO define."""
    classes = [base for base in kind.__mro__ if base.__module__.partition(".")[0] == package]
    members = {name: member for base in reversed(classes) for name, member in vars(base).items()}
    return {
        name: member
        for name, member in members.items()
        if not name.startswith("__") and (callable(member) or isinstance(member, property | staticmethod | classmethod))
    }


def parameters(member):
    return [name for name in inspect.signature(member).parameters if name != "self"]


@pytest.mark.parametrize("path", OVERRIDDEN)
def test_every_override_is_listed_and_exists_in_recbole(path):
    kind = import_class(path)
    ours, theirs = names_defined(kind, "recbole_echomamba"), names_defined(kind, "recbole")
    listed = set(OVERRIDDEN[path])
    assert listed <= set(theirs), "RecBole does not have these any more"
    assert listed <= set(ours), "these are listed and not overridden"
    assert set(ours) & set(theirs) <= listed, "these override RecBole's and are not listed"


@pytest.mark.parametrize("path", OVERRIDDEN)
def test_every_override_takes_recboles_arguments(path):
    kind = import_class(path)
    ours, theirs = names_defined(kind, "recbole_echomamba"), names_defined(kind, "recbole")
    for name in OVERRIDDEN[path]:
        if not isinstance(ours[name], property):
            assert parameters(ours[name]) == parameters(theirs[name]), name


@pytest.mark.parametrize(("path", "replaced"), REPLACED_BASES.items())
def test_our_base_class_stands_before_recboles(path, replaced):
    bases = import_class(path).__mro__
    (place,) = [number for number, base in enumerate(bases) if base.__name__ == replaced]
    assert bases[place].__module__.startswith("recbole.")
    assert bases[place - 1].__module__.startswith("recbole_echomamba.")


def test_our_interaction_has_the_attributes_that_recboles_sets():
    from recbole.data.interaction import Interaction

    kind = import_class("data.windowed_interaction.WindowedInteraction")
    assert all(hasattr(kind, name) for name in vars(Interaction({"item_id": torch.ones(1)})))
