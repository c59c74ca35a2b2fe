"""Both evaluation protocols from one pass over the test part, against scores masked by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_echomamba import load_run, run


@pytest.fixture
def result(settings):
    return run("Mamba4Rec", "cycle", config_dict={**settings, "MAX_ITEM_LIST_LENGTH": 3})


def test_ranks_among_unseen_items_are_those_of_masked_scores(result, data_path):
    _, model, dataset, _, _, test = load_run(result["run_directory"])
    rows = pd.read_table(data_path / "cycle" / "cycle.inter").set_axis(["user", "item", "time"], axis=1)
    kept = pd.read_parquet(f"{result['run_directory']}/test_ranks.parquet").set_index("user")
    item_ids = dataset.field2token_id["item_id"]
    for interaction, *_ in test:
        with torch.no_grad():
            scores = model.full_sort_predict(interaction)
        scores[:, 0] = -torch.inf
        for row, user in enumerate(dataset.id2token("user_id", interaction["user_id"].numpy())):
            history = rows[rows["user"] == user].sort_values("time")["item"].tolist()
            target = item_ids[history[-1]]
            seen = [item_ids[item] for item in history[:-1] if item_ids[item] != target]
            masked = scores[row].clone()
            masked[seen] = -torch.inf
            assert kept.loc[user, "rank_unseen"] == int((masked >= masked[target]).sum())
            assert kept.loc[user, "rank"] == int((scores[row] >= scores[row, target]).sum())


def test_the_result_holds_both_protocols_for_validation_and_test(result):
    ranks = pd.read_parquet(f"{result['run_directory']}/test_ranks.parquet")["rank_unseen"]
    ndcg = np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean()
    assert result["test_result_unseen"]["ndcg@10"] == pytest.approx(ndcg, abs=5e-5)
    assert result["test_result_unseen"]["ndcg@10"] >= result["test_result"]["ndcg@10"]
    best = result["history"][result["best_epoch"]]
    assert result["best_valid_result_unseen"] == best["valid_result_unseen"]
