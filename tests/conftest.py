"""Shared by all tests: a dataset that every model can learn, small settings, and a temporary working directory."""

import os
import random
import signal
import socket

# models this small wait longer for threads than they compute
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from recbole_echomamba import Config, get_model

ITEMS, USERS, HISTORY = 12, 48, 11
ROWS = [(f"u{user}", f"i{(user + step) % ITEMS}", str(step + 1)) for user in range(USERS) for step in range(HISTORY)]

SMALL = {
    "MAX_ITEM_LIST_LENGTH": 8,
    "hidden_size": 16,
    "d_state": 4,
    "epochs": 2,
    "topk": [5, 10],
    "train_batch_size": 64,
    "eval_batch_size": 64,
    "show_progress": False,
}

# a shell starts background jobs with SIGINT ignored
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def temporary_working_directory(tmp_path, monkeypatch):
    """Run each test in a folder of its own: RecBole writes logs into the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def data_path(tmp_path_factory):
    """Return a folder with the dataset ``cycle``: all users walk the same circle of items, each from another start."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "cycle").mkdir()
    rows = ROWS.copy()
    random.Random(0).shuffle(rows)
    write_inter(folder / "cycle" / "cycle.inter", rows)
    return folder


def write_inter(file, rows, header="user_id:token\titem_id:token\ttimestamp:float"):
    file.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n")


@pytest.fixture
def settings(data_path, tmp_path):
    return {**SMALL, "data_path": str(data_path), "checkpoint_dir": str(tmp_path / "saved")}


@pytest.fixture
def second_address():
    """Return a second address of this machine, for what needs two machines."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.2", 0))
        except OSError:
            pytest.skip("127.0.0.2 is no address of this machine")
    return "127.0.0.2"


def replace_flags(command, *flags):
    """Return a command line with flags in the place of those of the same name; a flag given twice is refused."""
    names = {flag.partition("=")[0] for flag in flags}
    return [word for word in command if word.partition("=")[0] not in names] + list(flags)


class Items:
    """Stand in for a dataset: a model asks only for the number of items, which includes the padding item."""

    def __init__(self, n_items):
        self.n_items = n_items

    def num(self, field):
        return self.n_items


@pytest.fixture
def build(settings):
    """``build(name, **settings)`` returns a model in float64 with noise added to every parameter."""

    def make(name, n_items=20, **changed):
        config = Config(name, "cycle", config_dict={**settings, "dropout_prob": 0.0, **changed})
        torch.manual_seed(3)
        model = get_model(name)(config, Items(n_items)).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make
