import pytest

from recbole_echomamba import Config
from recbole_echomamba.comparison.contenders import (
    Contender,
    check_comparable,
    has_fixed_loss,
    parse_variant,
    parse_variants,
)
from recbole_echomamba.system.errors import UserError


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("loss_type", ("CE", "BPR")),
        ("epochs", (5, 6)),
        ("MAX_ITEM_LIST_LENGTH", (5, 6)),
        ("stopping_step", (5, 6)),
    ],
)
def test_models_that_differ_in_a_common_setting_are_refused(key, values):
    contenders = [Contender("SASRec"), Contender("GRU4Rec")]
    configs = {}
    for contender, value in zip(contenders, values, strict=True):
        configs[contender.label] = Config(contender.model, "ml-100k", config_dict={key: value})
    with pytest.raises(ValueError, match=f"{key} is .* for SASRec, .* for GRU4Rec"):
        check_comparable(contenders, configs)
    contenders[1].changes = {key: values[1]}  # a variant may differ
    check_comparable(contenders, configs)


def test_a_model_with_its_own_loss_needs_no_common_loss_type():
    contenders = [Contender("SASRec"), Contender("FPMC")]
    configs = {
        "SASRec": Config("SASRec", "ml-100k", config_dict={"loss_type": "CE"}),
        "FPMC": Config("FPMC", "ml-100k"),
    }
    assert [has_fixed_loss(config) for config in configs.values()] == [False, True]
    check_comparable(contenders, configs)


def test_a_variant_is_parsed_into_its_name_and_settings():
    assert parse_variant("wide:hidden_size=24,topk=[5,10],loss_type=BPR") == (
        "wide",
        {"hidden_size": 24, "topk": [5, 10], "loss_type": "BPR"},
    )


def test_a_setting_or_a_variant_given_twice_is_refused():
    with pytest.raises(UserError, match="gives a setting twice"):
        parse_variant("wide:hidden_size=24,hidden_size=32")
    with pytest.raises(UserError, match="two variants are named 'wide'"):
        parse_variants(["wide:hidden_size=24", "deep:num_layers=2", "wide:hidden_size=32"])
