import os
import shutil
import sys

import numpy as np
import pytest
import yaml
from recbole.config import Config as RecBoleConfig

from recbole_echomamba import Config, Mamba4Rec
from recbole_echomamba.config import config
from recbole_echomamba.config.settings_files import RECBOLE_PROPERTIES, parse_value, properties_directory
from recbole_echomamba.system.errors import UserError


def test_a_later_source_wins_over_an_earlier_one(tmp_path):
    assert Config("EchoMamba4Rec", "ml-100k")["MAX_ITEM_LIST_LENGTH"] == 50
    file = tmp_path / "mine.yaml"
    file.write_text("MAX_ITEM_LIST_LENGTH: 30\ndropout_prob: 0.5\n")
    config = Config("EchoMamba4Rec", "ml-100k", [str(file)])
    assert (config["MAX_ITEM_LIST_LENGTH"], config["dropout_prob"]) == (30, 0.5)
    config = Config("EchoMamba4Rec", "ml-100k", [str(file)], {"MAX_ITEM_LIST_LENGTH": "20"})
    assert (config["MAX_ITEM_LIST_LENGTH"], config["dropout_prob"]) == (20, 0.5)


def test_numpy_names_that_recbole_reads_exist_without_those_that_numpy_2_removed(monkeypatch):
    for name in ("float_", "complex_", "unicode_"):
        monkeypatch.delattr(np, name, raising=False)
    for name in ("float", "long", "unicode"):
        monkeypatch.delattr(np, name, raising=False)
    with pytest.raises(AttributeError, match="float_"):
        RecBoleConfig.compatibility_settings(None)
    Config.compatibility_settings(None)
    assert np.zeros(1, np.float).dtype == np.float64


def test_the_authors_settings_are_the_defaults():
    config = Config("EchoMamba4Rec", "ml-1m")
    expected = {
        "hidden_size": 64,
        "num_layers": 1,
        "dropout_prob": 0.2,
        "d_state": 32,
        "d_conv": 4,
        "expand": 2,
        "loss_type": "CE",
        "learning_rate": 0.001,
        "train_batch_size": 2048,
        "epochs": 300,
        "stopping_step": 10,
        "MAX_ITEM_LIST_LENGTH": 200,
        "valid_metric": "NDCG@10",
        "topk": [5, 10, 20],
        "user_inter_num_interval": "[5,inf)",
        "item_inter_num_interval": "[5,inf)",
    }
    assert {key: config[key] for key in expected} == expected


def test_what_recbole_sets_for_a_dataset_or_model_stays():
    assert Config("SASRec", "ml-100k")["normalize_all"] is True
    # times are read in seconds
    assert Config("Mamba4Rec", "ml-100k", config_dict={"time_gaps": True})["normalize_all"] is False
    assert Config("SASRec", "ml-100k")["n_layers"] == 2
    assert Config("BERT4Rec", "ml-100k")["mask_ratio"] == 0.2


def test_no_default_changes_one_that_recbole_sets_for_its_own_models():
    for file in (RECBOLE_PROPERTIES / "model").glob("*.yaml"):
        assert not (properties_directory() / "model" / file.name).exists()


def test_the_command_line_of_another_program_is_not_read(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["other", "--epochs=3", "--nonsense=1"])
    assert Config("Mamba4Rec", "ml-100k")["epochs"] == 300


def test_a_class_works_as_well_as_a_name():
    class Mine(Mamba4Rec):
        pass

    config = Config(Mine, "ml-100k", config_dict={"d_state": 2, "my_gate": 3})
    assert config["model"] == "Mine"
    assert (config["hidden_size"], config["d_state"], config["my_gate"]) == (64, 2, 3)
    assert config.model_class is Mine


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("[5, 10]", [5, 10]),
        ("['Hit','NDCG']", ["Hit", "NDCG"]),
        ("[Hit,NDCG]", ["Hit", "NDCG"]),
        ("[5,inf)", "[5,inf)"),
        ("{'LS': 'valid_and_test'}", {"LS": "valid_and_test"}),
        ("True", True),
        ("false", False),
        ("None", None),
        ("no", False),
        ("on", True),
        ("NDCG@10", "NDCG@10"),
        ("a=b", "a=b"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
    ],
)
def test_values_are_read_as_literals_and_never_evaluated(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hiden_size": 8}, ["hiden_size", "hidden_size"]),
        ({"MAX_ITEM_LIST_LENGTH": 0}, ["MAX_ITEM_LIST_LENGTH", "at least 1", "0"]),
        ({"MAX_ITEM_LIST_LENGTH": "many"}, ["MAX_ITEM_LIST_LENGTH", "'many'"]),
        ({"epochs": 1.5}, ["epochs", "1.5"]),
        ({"topk": [5]}, ["NDCG@10", "add 10 to topk"]),
        ({"valid_metric": "GAUC"}, ["GAUC", "metrics"]),
        ({"topk": [10, 2.5]}, ["topk", "whole numbers"]),
        ({"metrics": ["Foo"]}, ["metrics", "Foo", "ndcg"]),
        ({"dropout_prob": 1.0}, ["dropout_prob", "below 1"]),
        ({"learning_rate": "abc"}, ["learning_rate", "'abc'"]),
        ({"stopping_step": -1}, ["stopping_step", "at least 0"]),
        ({"learner": "foo"}, ["learner", "adamw"]),
        ({"loss_type": "XX"}, ["loss_type", "CE or BPR"]),
        ({"shuffle": "maybe"}, ["shuffle", "true or false"]),
        ({"checkpoint_dir": 2024}, ["checkpoint_dir", "text"]),
        ({"clip_grad_norm": "abc"}, ["clip_grad_norm", "max_norm"]),
        ({"user_inter_num_interval": "[a,b]"}, ["user_inter_num_interval", r"[5,inf)"]),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, ["load_col", "timestamp"]),
        ({"eval_args": "garbage"}, ["eval_args", "split"]),
        ({"eval_args": {"mode": "labeled"}}, ["eval_args", "uni100"]),
        ({"eval_args": {"split": {"RS": [0.8, 0.2]}}}, ["eval_args", "three ratios"]),
        ({"eval_args": {"order": "RO"}}, ["eval_args", "order: TO"]),
        ({"eval_args": {"mode": {"vald": "full"}}}, ["eval_args", "vald"]),
        ({"eval_args": {"group_by": "item"}}, ["group_by", "user or none"]),
        ({"repeatable": False}, ["repeatable must be true"]),
        ({"state": "loud"}, ["state", "warning"]),
        ({"rm_dup_inter": "some"}, ["rm_dup_inter", "first or last"]),
        ({"clip_grad_norm": {"norm": 5}}, ["clip_grad_norm", "max_norm"]),
        ({"val_interval": {"rating": "3+"}}, ["val_interval", "rating", r"[3,inf)"]),
        ({"load_col": None, "unload_col": {"inter": ["timestamp"]}}, ["unload_col", "timestamp"]),
        ({"unload_col": {"inter": ["rating"]}}, ["load_col and unload_col", "load_col: None"]),
        ({"threshold": {"timestamp": 3}}, ["threshold", "timestamp"]),
        ({"metrics": ["AUC"], "valid_metric": "AUC"}, ["AUC", "uni100"]),
        ({"metrics": ["AUC", "NDCG"]}, ["from single scores", "one kind"]),
        ({"loss_type": "BPR", "train_neg_sample_args": None}, ["loss_type: BPR", "leave train_neg_sample_args out"]),
        ({"train_neg_sample_args": {"distribution": "uniform"}}, ["loss_type: CE", "leave train_neg_sample_args out"]),
        ({"train_neg_sample_args": {"distribution": "normal"}}, ["train_neg_sample_args", "uniform or popularity"]),
        ({"train_neg_sample_args": {"number": 1}}, ["train_neg_sample_args", "sample_num"]),
        ({"train_neg_sample_args": {"sample_num": 0}}, ["train_neg_sample_args", "at least 1"]),
        ({"train_neg_sample_args": {"dynamic": True}}, ["train_neg_sample_args", "candidate_num"]),
        ({"transform": "user_defined"}, ["transform", "crop_itemseq"]),
        ({"transform": "crop_itemseq"}, ["transform: crop_itemseq needs eta"]),
        ({"transform": "reorder_itemseq", "beta": 2}, ["beta", "between 0 and 1"]),
        ({"eta": 0.5}, ["eta", "transform: crop_itemseq"]),
        ({"benchmark_filename": ["train"]}, ["benchmark_filename", "'train','valid','test'"]),
    ],
)
def test_a_bad_setting_is_named_with_what_to_do(settings, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        Config("EchoMamba4Rec", "ml-100k", config_dict=settings)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("model", ["SASRecCPR", "GRU4RecCPR"])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_type": "BPR"}, "set loss_type: CE"),
        ({"eval_args": {"mode": "uni100"}}, "set eval_args mode: full"),
        ({"reranker_CAN_NUM": "100,20"}, "set n_facet_all: 6"),
    ],
)
def test_what_the_cpr_models_cannot_do_is_refused(model, settings, words):
    with pytest.raises(UserError, match=words):
        Config(model, "ml-100k", config_dict=settings)


@pytest.mark.parametrize(
    ("transform", "given"), [("crop_itemseq", "eta"), ("reorder_itemseq", "beta"), ("mask_itemseq", "mask_ratio")]
)
def test_a_transform_brings_its_own_settings(transform, given):
    config = Config("SASRec", "ml-100k", config_dict={"transform": transform, given: 0.6})
    assert config[given] == config.settings[given] == 0.6


def test_din_is_scored_on_sampled_items_for_its_own_metrics_only():
    assert Config("DIN", "ml-1m")["eval_args"]["mode"] == {"valid": "uni100", "test": "uni100"}
    ranking = {"metrics": ["NDCG"], "valid_metric": "NDCG@10"}
    assert Config("DIN", "ml-1m", config_dict=ranking)["eval_args"]["mode"] == {"valid": "full", "test": "full"}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"config_file": "mine.yaml"}, "'config_file' has no effect"),
        ({"valid_metric_bigger": False}, "'valid_metric_bigger' has no effect"),
        (
            {"benchmark_filename": ["train", "test"], "val_interval": {"rating": "[3,inf)"}},
            "'val_interval' has no effect",
        ),
    ],
)
def test_a_setting_that_nothing_reads_is_a_warning(settings, word, caplog):
    Config("SASRec", "ml-100k", config_dict=settings)
    assert word in caplog.text


def test_a_setting_of_another_model_is_a_warning(caplog):
    Config("EchoMamba4Rec", "ml-100k", config_dict={"n_heads": 2})
    assert "n_heads" in caplog.text


def test_a_config_file_that_is_missing_or_not_yaml_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        Config("Mamba4Rec", "ml-100k", ["gone.yaml"])
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ValueError, match=r"bad\.yaml"):
        Config("Mamba4Rec", "ml-100k", ["bad.yaml"])
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match=r"list\.yaml"):
        Config("Mamba4Rec", "ml-100k", ["list.yaml"])


@pytest.mark.parametrize(
    ("model", "loss_type", "negatives"),
    [("EchoMamba4Rec", "CE", False), ("EchoMamba4Rec", "BPR", True), ("SASRec", "CE", False), ("FPMC", None, True)],
)
def test_negative_sampling_follows_from_loss_and_model(model, loss_type, negatives):
    settings = {"loss_type": loss_type} if loss_type else {}
    config = Config(model, "ml-100k", config_dict=settings)
    distribution = (config["train_neg_sample_args"] or {}).get("distribution", "none")
    assert (distribution != "none") is negatives


def test_a_setting_of_another_model_is_warned_of_and_changes_nothing(caplog):
    plain, other = Config("Mamba4Rec", "ml-100k"), Config("Mamba4Rec", "ml-100k", config_dict={"n_heads": 4})
    assert "'n_heads' belongs to another model" in caplog.text
    assert other.hash == plain.hash
    assert other.settings == plain.settings


def test_a_variant_may_hold_settings_of_another_model(caplog):
    config = Config("Mamba4Rec", "ml-100k", ["all-positions"])
    assert "causal" not in config.settings
    assert not caplog.messages
    Config("Mamba4Rec", "ml-100k", ["all-positions"], {"causal": True})
    assert "'causal' belongs to another model" in caplog.text


def test_the_hash_changes_with_what_changes_the_result_and_with_nothing_else():
    def hashed(**settings):
        return Config("EchoMamba4Rec", "ml-100k", config_dict=settings).hash

    assert hashed() == hashed(seed=7) == hashed(checkpoint_dir="x") == hashed(gpu_id="1") == hashed(worker=2)
    assert len({hashed(), hashed(dropout_prob=0.1), hashed(ssm_init="normal"), hashed(MAX_ITEM_LIST_LENGTH=20)}) == 4


def test_settings_build_the_same_config_again():
    first = Config("SASRec", "ml-100k", config_dict={"hidden_size": 32, "topk": "[10]"})
    settings = yaml.safe_load(yaml.safe_dump(first.settings))
    assert Config("SASRec", "ml-100k", config_dict=settings).hash == first.hash


def test_what_eval_args_leaves_out_stays_leave_one_out():
    config = Config("EchoMamba4Rec", "ml-100k", config_dict={"eval_args": {"mode": "uni100"}})
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"}
    assert config["eval_args"]["order"] == "TO"
    assert config["eval_args"]["mode"] == {"valid": "uni100", "test": "uni100"}


def test_a_config_file_may_be_the_name_of_a_variant(settings, tmp_path):
    config = Config("EchoMamba4Rec", "cycle", ["all-positions"], settings)
    assert (config["train_positions"], config["causal"]) == ("all", True)
    # a file of that name in the working directory comes first
    (tmp_path / "all-positions").write_text("train_positions: last")
    assert Config("EchoMamba4Rec", "cycle", ["all-positions"], settings)["train_positions"] == "last"


def test_a_config_file_that_is_missing_is_named_with_the_variants_like_it(settings):
    with pytest.raises(FileNotFoundError, match="config file all-position does not exist; did you mean all-positions"):
        Config("EchoMamba4Rec", "cycle", ["all-position"], settings)


def test_the_authors_variant_changes_nothing_but_the_initialisation(data_path):
    default = Config("EchoMamba4Rec", "cycle", config_dict={"data_path": str(data_path)}).settings
    authors = Config("EchoMamba4Rec", "cycle", ["authors"], {"data_path": str(data_path)}).settings
    assert {key for key in authors if authors[key] != default[key]} == {"ssm_init"}


ALIASES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
HOSTILE_YAML = {
    "500 levels": "topk: " + "[" * 500 + "]" * 500,
    "500 mappings": "eval_args: " + "{a: " * 500 + "1" + "}" * 500,
    "100 levels": "topk: " + "[" * 100 + "]" * 100,
    "a list in itself": "topk: &x [*x]",
    "a billion values": f"a0: &a0 [1, 1]\n{ALIASES}",
    "no date": "seed: 2020-13-45",
    "a number of 5000 digits": f"seed: {'9' * 5000}",
    "no name": "null: 2",
    "a tab": "\tseed: 1",
    "an object": "seed: !!python/object/apply:os.getcwd []",
    "no value of its type": "seed: !!timestamp x",
}


@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML)
@pytest.mark.parametrize("place", ["config file", "dataset file"])
def test_yaml_that_is_no_settings_is_refused_in_one_line_that_names_the_file(
    settings, tmp_path, monkeypatch, text, place
):
    if place == "config file":
        file = tmp_path / "mine.yaml"
    else:
        shutil.copytree(properties_directory(), tmp_path / "properties")
        monkeypatch.setattr(config, "properties_directory", lambda: tmp_path / "properties")
        file = tmp_path / "properties" / "dataset" / "cycle.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=f"{file} (is not valid YAML: |has None in the place)") as refused:
        Config("EchoMamba4Rec", "cycle", [str(file)] if place == "config file" else [], settings)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["[" * 500 + "]" * 500, "{a: " * 500 + "}" * 500, "[" * 150 + "]" * 150, "{a: &a [1], b: [2020-13-45]}"]
)
def test_a_setting_that_is_nested_too_deep_stays_text_and_is_refused_in_one_line(settings, text):
    assert parse_value(text) == text
    with pytest.raises(UserError, match=r"topk must be whole numbers"):
        Config("EchoMamba4Rec", "cycle", config_dict={**settings, "topk": text})


def test_a_value_that_is_nested_too_deep_is_refused_by_its_name(settings):
    value = []
    for _ in range(500):
        value = [value]
    with pytest.raises(UserError, match="topk is nested more than 50 levels deep"):
        Config("EchoMamba4Rec", "cycle", config_dict={**settings, "topk": value})


def test_a_config_file_that_is_a_pipe_is_refused_at_once(settings, tmp_path):
    os.mkfifo(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match=r"config file mine\.yaml cannot be read: it is a folder, pipe or device"):
        Config("EchoMamba4Rec", "cycle", ["mine.yaml"], settings)


@pytest.mark.parametrize("value", ["inter", [{}, None], 5, [["inter"]]])
@pytest.mark.parametrize("split_files", [None, ["train", "test"]])
def test_a_load_col_that_is_no_mapping_is_refused(settings, value, split_files):
    given = {**settings, "load_col": value, "benchmark_filename": split_files}
    with pytest.raises(UserError, match=r"load_col is .*; write"):
        Config("EchoMamba4Rec", "cycle", config_dict=given)


@pytest.mark.parametrize("value", [{}, [], [1], 5, True, "user_defined"])
def test_a_transform_that_is_no_name_is_refused(settings, value):
    with pytest.raises(UserError, match=r"transform is .*; choose mask_itemseq"):
        Config("SASRec", "cycle", config_dict={**settings, "transform": value})


@pytest.mark.parametrize("value", [None, "", "None"])
@pytest.mark.parametrize("key", ["data_path", "checkpoint_dir"])
def test_a_folder_without_a_name_is_refused(settings, key, value):
    with pytest.raises(UserError, match=f"{key} is .*; name a folder"):
        Config("EchoMamba4Rec", "cycle", config_dict={**settings, key: value})


def test_a_path_that_no_file_can_have_is_refused(settings):
    for path in ("a\0b", "\udcff"):
        with pytest.raises(UserError, match="data_path must be text without NUL and in UTF-8"):
            Config("EchoMamba4Rec", "cycle", config_dict={**settings, "data_path": path})


def test_what_a_sampled_loss_reads_is_in_the_hash_with_that_loss_only():
    def make_hash(**changed):
        return Config("Mamba4Rec", "ml-100k", config_dict=changed).hash

    assert make_hash(train_negatives=7, negative_distribution="uniform") == make_hash()
    sampled = {"loss_type": "SampledCE"}
    hashes = {
        make_hash(**sampled, **more) for more in ({}, {"train_negatives": 7}, {"negative_distribution": "uniform"})
    }
    assert len(hashes) == 3
