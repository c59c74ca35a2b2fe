"""A custom model is named, kept, loaded, resumed, compared and tuned like a registered one."""

import sys
from pathlib import Path

import pytest
import torch
import yaml
from recbole.model.sequential_recommender import SASRec

from recbole_echomamba import Config, Mamba4Rec, get_model, load_run, recommend, run
from recbole_echomamba.cli import main
from recbole_echomamba.config.model_names import find_reference
from recbole_echomamba.config.settings_files import RECBOLE_PROPERTIES
from recbole_echomamba.config.settings_hash import hashed_settings
from recbole_echomamba.config.values import NUMBER_RANGES
from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.training.run_directory import plain_settings
from tests.conftest import SMALL, USERS

SOURCE = """
import torch
from recbole_echomamba.models.mamba4rec import Mamba4Rec
from neighbour import SIGN

class Wider(Mamba4Rec):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.inner = torch.nn.Linear(config["embedding_size"], 1)
        self.my_gate = SIGN * config["my_gate"]

    def encode(self, *arguments):
        return self.my_gate * super().encode(*arguments)

class NoModel:
    pass
"""
GIVEN = {"embedding_size": 5, "n_heads": 3, "my_gate": 0.5, "epochs": 1}


@pytest.fixture
def own(settings, tmp_path, monkeypatch):
    """Write a module ``own_model`` with the class ``Wider`` into the working directory; return the command line's settings."""
    (tmp_path / "own_model.py").write_text(SOURCE)
    (tmp_path / "neighbour.py").write_text("SIGN = -1\n")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    modules = sys.modules.copy()
    yield [f"--{key}={value}" for key, value in {**settings, **GIVEN}.items()]
    for name in set(sys.modules) - set(modules):
        if name.startswith((str(tmp_path), "own_model", "neighbour")):
            del sys.modules[name]


def of_recboles_models():
    """Return every setting in RecBole's files of models, with a value that differs from the default."""
    files = (RECBOLE_PROPERTIES / "model").glob("*.yaml")
    keys = {key for file in files for key in yaml.safe_load(file.read_text()) or {}}
    # its own checks decide on these
    return sorted(keys - {"loss_type", "train_neg_sample_args", "transform", "MAX_ITEM_LIST_LENGTH"})


class Mine(Mamba4Rec):
    """A custom model in a module that can be imported."""


def test_every_setting_that_a_custom_model_is_given_is_kept_and_hashed():
    keys = [*of_recboles_models(), "my_gate", "hiden_size"]
    assert len(keys) > 100
    given = {key: 0.375 if key in NUMBER_RANGES else 7 for key in keys}
    config = Config(Mine, "ml-100k", config_dict=given)
    assert {key: config[key] for key in keys} == given
    hashed = hashed_settings(plain_settings(config))
    assert {key: hashed[key] for key in keys} == given
    assert config.hash != Config(Mine, "ml-100k", config_dict={**given, "my_gate": 8}).hash


@pytest.mark.parametrize("name", ["own_model:Wider", "own_model.py:Wider"])
def test_a_run_is_loaded_resumed_and_recommended_from_by_its_directory_alone(own, tmp_path, monkeypatch, name):
    assert main(["run", f"--model={name}", "--dataset=cycle", *own]) == 0
    (directory,) = (tmp_path / "saved").glob("Wider-cycle-*")
    kept = yaml.safe_load((directory / "config.yaml").read_text())
    assert kept["model"] == (name if name == "own_model:Wider" else f"{tmp_path}/own_model.py:Wider")
    assert {key: kept[key] for key in GIVEN} == GIVEN
    if name.startswith("own_model.py"):
        # a file is found from any folder
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
    scores = []
    for _ in range(2):
        config, model, _, _, _, test = load_run(directory)
        assert config.hash == directory.name.rpartition("-")[2]
        with torch.no_grad():
            scores.append(model.full_sort_predict(next(iter(test))[0]))
    assert torch.equal(*scores)
    assert model.inner.in_features == 5
    assert recommend(directory, topk=1)["user_id"].nunique() == USERS
    assert main(["run", f"--resume={directory}", "--epochs=2"]) == 0
    assert main(["inspect", str(directory), f"--out={tmp_path / 'page.html'}"]) == 0


def test_models_are_compared_and_tuned_by_module_and_class(own, tmp_path, capsys):
    (tmp_path / "x.hyper").write_text("my_gate choice [0.5,1.0]\n")
    common = ["--dataset=cycle", *own]
    assert main(["compare", "--models=own_model:Wider,Mamba4Rec", *common, f"--out={tmp_path / 'out'}"]) == 0
    assert "| Wider " in (tmp_path / "out" / "report.md").read_text()
    pytest.importorskip("optuna")
    tuning = ["--params_file=x.hyper", f"--out={tmp_path / 'tuned'}"]
    assert main(["tune", "--model=own_model.py:Wider", *common[:1], *tuning, *own]) == 0
    best = yaml.safe_load((tmp_path / "tuned" / "best.yaml").read_text())
    assert best["model"] == f"{tmp_path}/own_model.py:Wider"


def test_a_class_that_cannot_be_imported_says_so_and_is_given_by_hand(settings, caplog):
    class Local(Mamba4Rec):
        pass

    result = run(Local, "cycle", config_dict={**settings, "epochs": 1})
    assert [record.getMessage() for record in caplog.records if "need model=Local" in record.getMessage()]
    directory = result["run_directory"]
    with pytest.raises(
        UserError, match=r"is a run of the model Local: .*--model=module:Local, or pass the class as model="
    ):
        load_run(directory)
    with pytest.raises(UserError, match="is a run of Local, not of Mamba4Rec"):
        recommend(directory, model="Mamba4Rec")
    assert type(load_run(directory, model=Local)[1]) is Local
    assert recommend(directory, topk=1, model=Local)["user_id"].nunique() == USERS
    assert run(Local, resume=directory, config_dict={"epochs": 2})["epochs"] == 2


def test_a_class_that_has_moved_is_named_again(own, tmp_path):
    assert main(["run", "--model=own_model:Wider", "--dataset=cycle", *own]) == 0
    (directory,) = (tmp_path / "saved").glob("Wider-*")
    (tmp_path / "own_model.py").rename(tmp_path / "moved.py")
    del sys.modules["own_model"]
    assert main(["recommend", f"--run={directory}", "--all", "--out=a.csv"]) == 1
    assert main(["recommend", f"--run={directory}", "--all", "--out=a.csv", "--model=moved.py:Wider"]) == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_model:Wide", "own_model has no class 'Wide'; did you mean Wider"),
        ("own_model:NoModel", "own_model:NoModel is no sequential recommender; derive the class from"),
        ("gone_model:Wider", "gone_model:Wider cannot be imported: ModuleNotFoundError"),
        ("broken.py:Wider", "broken.py:Wider cannot be imported: ZeroDivisionError"),
        ("Wider", "no model 'Wider'; .*module:Class"),
    ],
)
def test_a_model_that_cannot_be_found_is_one_line_that_says_why(own, tmp_path, name, words):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match=words) as error:
        get_model(name)
    assert "\n" not in str(error.value)


def test_a_file_that_does_not_exist_is_named():
    with pytest.raises(MissingFileError, match=r"there is no file .*gone\.py"):
        get_model("gone.py:Net")


def test_a_registered_model_is_kept_by_its_name_whatever_names_it():
    assert find_reference(Mamba4Rec) == find_reference(get_model("recbole_echomamba.models:Mamba4Rec")) == "Mamba4Rec"
    by_name, by_class = Config("SASRec", "ml-100k"), Config(SASRec, "ml-100k")
    assert by_name.hash == by_class.hash


def test_a_changed_source_file_is_another_run(own, tmp_path):
    def hashed():
        return Config("own_model:Wider", "cycle", config_dict={**SMALL, "my_gate": 1}).hash

    first = hashed()
    assert hashed() == first
    (tmp_path / "own_model.py").write_text(SOURCE + "# changed\n")
    assert hashed() != first


def test_a_subclass_of_a_model_of_recbole_has_its_defaults():
    class Deeper(SASRec):
        pass

    assert Config(Deeper, "ml-100k")["inner_size"] == Config("SASRec", "ml-100k")["inner_size"] == 256
    assert Config(Deeper, "ml-100k", config_dict={"n_layers": 4})["n_layers"] == 4
    assert Path(RECBOLE_PROPERTIES / "model" / "SASRec.yaml").is_file()
