"""RecBole's models must give the same numbers here as in RecBole."""

import json
import subprocess
import sys

import pytest

from recbole_echomamba import Config

SMALL = {
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 10,
    "hidden_size": 16,
    "inner_size": 16,
    "n_layers": 1,
    "n_heads": 1,
    "show_progress": False,
}

THEIRS = """
import json, sys
import numpy as np
# RecBole reads these, which NumPy 2 does not have
np.float_, np.complex_, np.unicode_ = np.float64, np.complex128, np.str_
from recbole.quick_start import run_recbole
model, settings = json.loads(sys.stdin.read())
result = run_recbole(model=model, dataset="ml-100k", config_dict=settings, saved=False)
print(json.dumps({k: result[k] for k in ("best_valid_score", "best_valid_result", "test_result")}))
"""

OURS = """
import json, sys
from recbole_echomamba import run
model, settings = json.loads(sys.stdin.read())
result = run(model, "ml-100k", config_dict=settings, saved=False)
print(json.dumps({k: result[k] for k in ("best_valid_score", "best_valid_result", "test_result")}))
"""


def printed(code, *given):
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("model", ["SASRec", "BERT4Rec"])
def test_recboles_own_run_gives_the_same_metrics_on_ml_100k(model):
    settings = Config(model, "ml-100k", config_dict=SMALL).settings
    settings = {key: value for key, value in settings.items() if key not in ("data_path", "variant")}
    ours = printed(OURS, model, settings)
    assert ours["test_result"]["ndcg@10"] > 0
    assert ours == printed(THEIRS, model, settings)
