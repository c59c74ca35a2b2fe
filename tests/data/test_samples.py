import numpy as np
import pytest

from recbole_echomamba import Config, create_dataset, data_preparation
from recbole_echomamba.data.samples import measure_future

GLOBAL_SPLIT = {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "none", "order": "TO", "mode": "full"}


def test_the_future_is_the_share_of_training_later_than_a_test_target():
    assert measure_future(np.array([4.0, 1, 2, 3]), np.array([2.0, 3.0])) == pytest.approx((0.5 + 0.25) / 2)
    assert measure_future(np.array([1.0, 2]), np.array([2.0, 9])) == 0
    assert measure_future(np.array([]), np.array([1.0])) == 0


def test_leave_one_out_says_that_the_future_is_in_training_and_a_global_split_does_not(tmp_path, settings, caplog):
    (tmp_path / "shifted").mkdir()
    rows = [f"u{user}\ti{(user + step) % 6}\t{100 * user + step}" for user in range(8) for step in range(9)]
    text = "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows])
    (tmp_path / "shifted" / "shifted.inter").write_text(text + "\n")
    settings = {**settings, "data_path": str(tmp_path), "topk": [5], "valid_metric": "NDCG@5"}
    for changed, expected in (({}, True), ({"eval_args": GLOBAL_SPLIT}, False)):
        config = Config("Mamba4Rec", "shifted", config_dict={**settings, **changed})
        caplog.clear()
        data_preparation(config, create_dataset(config))
        assert ("of the training interactions are later than a test target" in caplog.text) == expected


def test_a_global_split_trains_on_nothing_later_than_its_test_targets(tmp_path, settings):
    config = Config("Mamba4Rec", "cycle", config_dict={**settings, "eval_args": GLOBAL_SPLIT})
    train, valid, test = (loader.dataset.inter_feat for loader in data_preparation(config, create_dataset(config)))
    times = [part.flat["timestamp"][part.targets.long()] for part in (train, valid, test)]
    assert times[0].max() <= times[1].min()
    assert times[1].max() <= times[2].min()
