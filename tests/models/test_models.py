import pytest
import torch

from recbole_echomamba import Config, get_model, run
from recbole_echomamba.models import RECOMMENDERS
from tests.conftest import Items

OURS = list(RECOMMENDERS)


def batch(n_items=20, length=8, rows=9):
    """Return right-padded histories of every length, with targets and negatives."""
    draw = torch.Generator().manual_seed(5)
    item_seq_len = torch.arange(rows) % length + 1
    item_seq = torch.randint(1, n_items, (rows, length), generator=draw)
    item_seq[torch.arange(length) >= item_seq_len[:, None]] = 0
    return {
        "item_id_list": item_seq,
        "item_length": item_seq_len,
        "item_id": torch.randint(1, n_items, (rows,), generator=draw),
        "neg_item_id": torch.randint(1, n_items, (rows,), generator=draw),
    }


def item_ids(rows):
    """Return the ids of the items that a batch holds."""
    fields = ("item_id_list", "item_id", "neg_item_id")
    return torch.cat([rows[field].flatten() for field in fields])


@pytest.mark.parametrize("forced", ["reference", "numba"])
@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", OURS)
def test_the_last_position_alone_gives_the_loss_and_gradients_of_the_full_model(
    build, monkeypatch, name, num_layers, loss_type, forced
):
    monkeypatch.setenv("ECHOMAMBA_SCAN", forced)
    model = build(name, num_layers=num_layers, loss_type=loss_type)

    def loss_and_gradients(shortcut):
        model.shortcut = shortcut
        loss = model.calculate_loss(batch())
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    for at, full in zip(loss_and_gradients(True), loss_and_gradients(False), strict=True):
        assert (at - full).abs().max() <= 1e-12 * full.abs().max()


@pytest.mark.parametrize("shortcut", [True, False], ids=["shortcut", "full"])
@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", OURS)
def test_every_entry_of_every_parameter_gets_a_gradient(build, name, num_layers, loss_type, shortcut):
    model, rows = build(name, num_layers=num_layers, loss_type=loss_type, last_position_shortcut=shortcut), batch()
    model.calculate_loss(rows).backward()
    for parameter_name, parameter in model.named_parameters():
        reached = parameter.grad != 0
        if parameter_name == "item_embedding.weight":
            # cross-entropy scores every item, BPR those of the batch; the padding item 0 is no input and no target
            items = torch.arange(20) if loss_type == "CE" else item_ids(rows)
            reached = reached[items[items > 0]]
        elif parameter_name.endswith("filter.weight"):
            # the spectrum of a real signal has no imaginary part at its first and its last frequency
            reached[[0, -1], :, 1] = True
        assert reached.all(), parameter_name


@pytest.mark.parametrize("name", OURS)
def test_a_row_does_not_depend_on_the_others_in_its_batch(build, name):
    model, rows = build(name), batch()
    together = model.full_sort_predict(rows)
    alone = torch.cat([model.full_sort_predict({k: v[i : i + 1] for k, v in rows.items()}) for i in range(9)])
    torch.testing.assert_close(alone, together)


@pytest.mark.parametrize("name", OURS)
def test_a_model_reads_the_whole_history_and_its_order(build, name):
    model, rows = build(name), batch()
    before = model.encode(rows["item_id_list"], rows["item_length"])[7]
    assert rows["item_length"][7] == 8
    for slot in range(8):
        changed = rows["item_id_list"].clone()
        changed[7, slot] = changed[7, slot] % 19 + 1
        assert not torch.allclose(model.encode(changed, rows["item_length"])[7], before), f"slot {slot} is not read"
    swapped = rows["item_id_list"].clone()
    swapped[7, :2] = swapped[7, :2].flip(0)
    assert not torch.allclose(model.encode(swapped, rows["item_length"])[7], before)


@pytest.mark.parametrize("name", OURS)
def test_the_target_cannot_be_read_from_the_input(build, name):
    model, rows = build(name), batch()
    scores = model.full_sort_predict(rows)
    for field in ("item_id", "neg_item_id"):
        other = {**rows, field: rows[field] % 19 + 1}
        assert torch.equal(model.full_sort_predict(other), scores)


@pytest.mark.parametrize("name", OURS)
def test_predict_scores_one_item_as_full_sort_scores_it_among_all(build, name):
    model, rows = build(name), batch()
    scores = model.full_sort_predict(rows)
    assert scores.shape == (9, 20)
    torch.testing.assert_close(model.predict(rows), scores[torch.arange(9), rows["item_id"]])


@pytest.mark.parametrize("name", OURS)
def test_cross_entropy_and_bpr_are_those_of_the_scores(build, name):
    rows = batch()
    model = build(name, loss_type="CE")
    scores = model.full_sort_predict(rows)
    picked = scores[torch.arange(9), rows["item_id"]]
    torch.testing.assert_close(model.calculate_loss(rows), (scores.logsumexp(1) - picked).mean())
    model = build(name, loss_type="BPR")
    scores = model.full_sort_predict(rows)
    margin = scores[torch.arange(9), rows["item_id"]] - scores[torch.arange(9), rows["neg_item_id"]]
    torch.testing.assert_close(model.calculate_loss(rows), -torch.log(1e-10 + torch.sigmoid(margin)).mean())


@pytest.mark.parametrize(("length", "expected"), [(200, 103_616), (50, 94_016)])
def test_echomamba_has_as_many_parameters_as_the_authors_live_ones(settings, length, expected):
    config = Config(
        "EchoMamba4Rec", "cycle", config_dict={"data_path": settings["data_path"], "MAX_ITEM_LIST_LENGTH": length}
    )
    model = get_model("EchoMamba4Rec")(config, Items(20))
    assert sum(p.numel() for n, p in model.named_parameters() if not n.startswith("item_embedding")) == expected


def test_n_layers_are_n_times_n_bidirectional_pairs_as_the_authors_nest_them(build):
    model = build("EchoMamba4Rec", num_layers=3)
    assert [len(block.pairs) for block in model.blocks] == [3, 3, 3]


@pytest.mark.parametrize("name", OURS)
def test_ssm_init_keeps_or_redraws_mambas_own_start(settings, name):
    def delta_bias(ssm_init):
        config = Config(name, "cycle", config_dict={**settings, "ssm_init": ssm_init})
        model = get_model(name)(config, Items(20))
        return next(p for n, p in model.named_parameters() if n.endswith("dt_proj.bias")), model

    kept, model = delta_bias("mamba")
    assert (torch.nn.functional.softplus(kept) <= 0.1001).all()
    redrawn, model = delta_bias("normal")
    assert (redrawn == 0).all()
    assert (model.item_embedding.weight[0] == 0).all()


@pytest.mark.parametrize(("key", "value"), [("loss_type", "BCE"), ("ssm_init", "zeros")])
@pytest.mark.parametrize("name", OURS)
def test_a_value_the_model_does_not_know_is_refused(build, name, key, value):
    with pytest.raises(ValueError, match=f"{key} is '{value}'; choose"):
        build(name, **{key: value})


SETTINGS_OF_ITS_OWN = {"SASRec": {"n_heads": 2}, "GRU4Rec": {"embedding_size": 16}}


@pytest.mark.parametrize("name", [*OURS, "SASRec", "GRU4Rec"])
def test_every_model_learns_to_walk_a_circle(settings, name):
    training = {"epochs": 30, "learning_rate": 0.02, "topk": [1], "valid_metric": "NDCG@1"}
    result = run(name, "cycle", config_dict={**settings, **SETTINGS_OF_ITS_OWN.get(name, {}), **training})
    assert result["test_result"]["hit@1"] == 1.0
