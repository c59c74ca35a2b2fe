"""Wrong arguments are refused before torch is imported, with the words of the later checks, and right ones pass."""

import subprocess
import sys

import pytest
from recbole.model import sequential_recommender
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import argument_list

from recbole_echomamba import Config, create_dataset
from recbole_echomamba.config.early_checks import check_arguments, list_models
from recbole_echomamba.config.setting_names import OTHER_NAMES, list_recbole_settings
from recbole_echomamba.models import RECOMMENDERS
from recbole_echomamba.system.errors import UserError

REFUSED = {
    "unknown model": (["EchoMamba"], "cycle", [], {}),
    "two-stage model": (["S3Rec"], "cycle", [], {}),
    "no model": ([None], "cycle", [], {}),
    "no dataset": (["SASRec"], None, [], {}),
    "missing config file": (["SASRec"], "cycle", ["gone.yaml"], {}),
    "dataset elsewhere": (["SASRec"], "../cycle", [], {}),
    "missing dataset": (["SASRec"], "ml-1m", [], {}),
    "name of another library": (["SASRec"], "cycle", [], {"lr": "0.1"}),
    "no space after a colon": (["SASRec"], "cycle", [], {"eval_args": "{split:{LS:valid_only}}"}),
    "unknown setting": (["SASRec"], "cycle", [], {"drop_out": "1"}),
    "negative rate": (["SASRec"], "cycle", [], {"learning_rate": "-1"}),
    "no switch": (["SASRec"], "cycle", [], {"use_gpu": "maybe"}),
    "large seed": (["SASRec"], "cycle", [], {"seed": str(2**40)}),
    "no choice": (["SASRec"], "cycle", [], {"train_on": "some"}),
    "empty switch": (["EchoMamba4Rec"], "cycle", [], {"dropout_residual": "None"}),
    "no interval": (["SASRec"], "cycle", [], {"user_inter_num_interval": "5 to 7"}),
    "no log level": (["SASRec"], "cycle", [], {"state": "loud"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_early_would_be_refused_later_with_the_same_words(case):
    models, dataset, files, settings = REFUSED[case]
    with pytest.raises(UserError) as early:
        check_arguments(models, dataset, files, settings)
    with pytest.raises(UserError) as late:
        create_dataset(Config(models[0], dataset, files, settings))
    assert (type(early.value), str(early.value)) == (type(late.value), str(late.value))


def test_the_models_are_those_that_recbole_has():
    found = vars(sequential_recommender).items()
    recboles = {name for name, value in found if isinstance(value, type) and issubclass(value, SequentialRecommender)}
    assert set(list_models()) == {*RECOMMENDERS, *recboles} - {"S3Rec", "SequentialRecommender"}
    assert list_models()[: len(RECOMMENDERS)] == tuple(RECOMMENDERS)


def test_the_listed_settings_are_those_that_recbole_lists():
    lists = (value for name, value in vars(argument_list).items() if name.endswith("_arguments"))
    assert list_recbole_settings() == {key for keys in lists for key in keys}


@pytest.mark.parametrize("dataset", ["cycle", "ml-100k"])
def test_no_setting_that_a_model_has_is_refused_early(dataset, data_path):
    for model in list_models():
        settings = {key: str(value) for key, value in Config(model, dataset).settings.items() if key != "data_path"}
        check_arguments([model], dataset, [], {**settings, "data_path": str(data_path)})


def test_what_only_the_later_checks_can_judge_passes(data_path):
    given = {"data_path": str(data_path), "n_heads": "2", "mask_ratio": "0.2"}
    check_arguments(["Mamba4Rec"], "cycle", [], given)
    check_arguments(["my_module:Model", "SASRec"], "cycle", [], {**given, "my_gate": "1"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--model=EchoMamba", "--dataset=ml-100k"],
        ["run", "--model=SASRec", "--dataset=ml-100k", "--drop_out=1"],
        ["run", "--resume=gone"],
        ["run", "--model=SASRec", "--dataset=ml-100k", "--result_file=gone/r.json"],
        ["compare", "--models=SASRec,EchoMamba", "--dataset=ml-100k"],
        ["tune", "--model=SASRec", "--dataset=ml-100k", "--params_file=gone.hyper"],
        ["recommend", "--run=gone", "--all", "--out=top.csv"],
        ["inspect", "gone"],
    ],
)
def test_a_refusal_waits_for_neither_torch_nor_recbole(arguments):
    code = (
        "import sys; from recbole_echomamba.cli import main; "
        f"assert main({arguments!r}) == 1; "
        "print([name for name in ('torch', 'recbole', 'pandas') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, stderr=subprocess.PIPE) == "[]\n"


@pytest.mark.parametrize("model", list_models())
def test_names_of_other_libraries_lead_to_settings_that_exist(model):
    known = Config(model, "ml-100k").settings
    for other, ours in OTHER_NAMES.items():
        assert other not in known
        if ours in known:
            with pytest.raises(UserError, match=f"it is called {ours} here"):
                check_arguments([model], "ml-100k", [], {other: "1"})


def test_a_missing_dataset_is_answered_with_split_files_or_with_the_nearest_folder(tmp_path):
    for name in ("films/films", "parts/parts.train", "parts/parts.test"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.inter").touch()
    given = {"data_path": str(tmp_path)}
    with pytest.raises(UserError, match="did you mean films"):
        check_arguments(["SASRec"], "film", [], given)
    with pytest.raises(UserError, match=r"--benchmark_filename='\[test, train\]'"):
        check_arguments(["SASRec"], "parts", [], given)
    with pytest.raises(UserError) as refusal:
        check_arguments(["SASRec"], "zzz", [], given)
    assert str(refusal.value).endswith("zzz/")
