import subprocess
import sys

import pytest

from recbole_echomamba import EchoMamba4Rec, Mamba4Rec, get_model
from recbole_echomamba.config.model_names import list_models, suggest


def test_our_models_come_first_and_recboles_follow():
    assert get_model("EchoMamba4Rec") is EchoMamba4Rec
    assert get_model("Mamba4Rec") is Mamba4Rec
    assert get_model("SASRec").__module__.startswith("recbole.")
    assert {"SASRec", "BERT4Rec", "GRU4Rec", "FPMC", "NARM"} <= set(list_models())


@pytest.mark.parametrize("name", ["EchoMamba", "echomamba4rec"])
def test_an_unknown_model_is_answered_with_the_nearest_name(name):
    with pytest.raises(ValueError, match=f"no model '{name}'; did you mean EchoMamba4Rec"):
        get_model(name)


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "DeepFM", "KGAT", "XGBoost"])
def test_a_model_of_recbole_that_is_not_sequential_is_refused_with_that_reason(name):
    with pytest.raises(ValueError, match=f"{name} is no sequential model, and only these run"):
        get_model(name)


def test_a_word_that_is_close_to_nothing_is_answered_with_three_names():
    hint = suggest("zzz", list_models())
    assert hint.startswith("the nearest names are ")
    assert len(hint.split(", ")) == 3


def test_a_model_that_needs_recboles_two_stage_trainer_is_refused():
    with pytest.raises(ValueError, match="pretrain"):
        get_model("S3Rec")


@pytest.mark.parametrize("switched", [False, True])
def test_importing_the_package_leaves_anomaly_detection_as_it_was(switched):
    switch = f"torch.autograd.set_detect_anomaly({switched})"
    code = f"import torch; {switch}; import recbole_echomamba; print(torch.is_anomaly_enabled())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split()[-1] == str(switched)
