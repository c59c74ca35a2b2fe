"""Training on all positions of a history at once, and the forms of the models that can be trained so."""

import pytest
import torch

from recbole_echomamba import Config
from recbole_echomamba.models.base import GAP_BUCKETS, StateSpaceRecommender, gap_buckets
from tests.conftest import Items

SEQUENCES = torch.tensor([[3, 7, 7, 1, 12, 5], [9, 2, 4, 0, 0, 0], [8, 0, 0, 0, 0, 0]])
TARGETS = torch.tensor([[7, 7, 1, 12, 5, 6], [2, 4, 11, 0, 0, 0], [13, 0, 0, 0, 0, 0]])
TIMES = torch.tensor([[100, 100, 160, 9000, 9001, 800000], [5, 50, 60, 0, 0, 0], [77, 0, 0, 0, 0, 0]]).float()
CAUSAL = {"EchoMamba4Rec": {"causal": True}, "Mamba4Rec": {}}
SLOTS = 8


def whole():
    return {"item_id_list": SEQUENCES, "item_id": TARGETS, "timestamp_list": TIMES}


def prefixes():
    """One padded sample for every target, as RecBole makes them."""
    samples = {"item_id_list": [], "item_length": [], "item_id": [], "timestamp_list": []}
    for row, items in enumerate(SEQUENCES):
        for length in range(1, int((items > 0).sum()) + 1):
            for name, source in (("item_id_list", items), ("timestamp_list", TIMES[row])):
                padded = torch.zeros(SLOTS, dtype=source.dtype)
                padded[:length] = source[:length]
                samples[name].append(padded)
            samples["item_length"].append(torch.tensor(length))
            samples["item_id"].append(TARGETS[row, length - 1])
    return {name: torch.stack(values) for name, values in samples.items()}


@pytest.mark.parametrize("time_gaps", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", CAUSAL)
def test_all_positions_give_the_loss_and_gradients_of_all_prefixes(build, name, num_layers, time_gaps):
    found = []
    for positions, interaction in (("all", whole()), ("last", prefixes())):
        model = build(name, num_layers=num_layers, train_positions=positions, time_gaps=time_gaps, **CAUSAL[name])
        loss = model.calculate_loss(interaction)
        loss.backward()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        found.append([loss.detach(), *(parameter.grad for parameter in trained)])
    for at_once, one_by_one in zip(*found, strict=True):
        assert (at_once - one_by_one).abs().max() <= 1e-12 * one_by_one.abs().max()


@pytest.mark.parametrize("name", CAUSAL)
def test_no_position_reads_a_later_item(build, name):
    model = build(name, train_positions="all", **CAUSAL[name])
    before = model.encode_all(SEQUENCES)
    changed = SEQUENCES.clone()
    changed[0, 4] = 2
    after = model.encode_all(changed)
    torch.testing.assert_close(after[0, :4], before[0, :4], rtol=0, atol=1e-12)
    assert not torch.allclose(after[0, 4], before[0, 4])
    assert not torch.allclose(after[0, 5], before[0, 5])


def test_the_authors_form_would_leak_the_target_and_is_refused(build):
    model = build("EchoMamba4Rec")
    padded = torch.cat([SEQUENCES, torch.zeros(3, SLOTS - SEQUENCES.shape[1], dtype=torch.long)], dim=1)
    changed = padded.clone()
    changed[0, 4] = 2
    assert not torch.allclose(model.encode_all(changed)[0, 3], model.encode_all(padded)[0, 3])
    with pytest.raises(ValueError, match="would show EchoMamba4Rec the answers: its circular filter"):
        build("EchoMamba4Rec", train_positions="all")


def test_all_positions_need_cross_entropy(build):
    with pytest.raises(ValueError, match="train_positions: all needs loss_type: CE or SampledCE, it is BPR"):
        build("Mamba4Rec", train_positions="all", loss_type="BPR")


def test_weights_of_the_causal_form_and_of_the_authors_form_are_exchanged_by_name(build):
    causal, circular = build("EchoMamba4Rec", causal=True), build("EchoMamba4Rec")
    circular.load_state_dict(causal.state_dict())
    history, length = torch.tensor([[3, 7, 7, 1, 12, 5, 9, 2]]), torch.tensor([SLOTS])
    at_the_end = [model.blocks[0].filter(model.embed(history))[:, -1] for model in (causal, circular)]
    torch.testing.assert_close(*at_the_end)
    assert not torch.allclose(causal.encode(history, length), circular.encode(history, length))


def test_pairs_in_a_block_are_set_apart_from_blocks(build):
    model = build("EchoMamba4Rec", num_layers=2, pairs_per_block=1)
    assert [len(block.pairs) for block in model.blocks] == [1, 1]


def test_gaps_are_numbered_by_their_logarithm_and_unknown_ones_are_zero():
    times = torch.tensor([[10.0, 10, 11, 14, 14 + 2.0**30, 0], [0, 0, 0, 0, 0, 0]])
    assert gap_buckets(times).tolist() == [[0, 1, 2, 3, GAP_BUCKETS - 1, 0], [0] * 6]
    assert gap_buckets(times[:, :1]).tolist() == [[0], [0]]


@pytest.mark.parametrize("name", CAUSAL)
def test_times_are_read_but_neither_the_targets_time_nor_a_later_one(build, name):
    model = build(name, time_gaps=True, train_positions="all", **CAUSAL[name])
    before = model.encode_all(SEQUENCES, TIMES)
    later = TIMES.clone()
    later[0, 4:] += 50_000
    after = model.encode_all(SEQUENCES, later)
    torch.testing.assert_close(after[0, :4], before[0, :4], rtol=0, atol=1e-12)
    assert not torch.allclose(after[0, 4], before[0, 4])
    with_time_of_target = {**prefixes(), "timestamp": torch.arange(10.0)}
    without = model.full_sort_predict(with_time_of_target)
    with_time_of_target["timestamp"] += 1e6
    assert torch.equal(model.full_sort_predict(with_time_of_target), without)


def test_rescaled_times_are_refused(build):
    with pytest.raises(ValueError, match="time_gaps needs times in seconds"):
        build("Mamba4Rec", time_gaps=True, normalize_all=True)


@pytest.mark.parametrize("name", CAUSAL)
def test_histories_of_similar_length_are_encoded_as_all_together(build, monkeypatch, name):
    monkeypatch.setattr("recbole_echomamba.models.base.ROWS_OF_SIMILAR_LENGTH", 3)
    model = build(name, num_layers=2, time_gaps=True, **CAUSAL[name])
    samples = prefixes()
    expected = model.encode(samples["item_id_list"], samples["item_length"], samples["timestamp_list"])
    found = model.encode_batch(samples)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_the_authors_form_reads_padding_and_keeps_it(build):
    assert not build("EchoMamba4Rec").ignores_padding


def test_a_custom_model_without_the_methods_is_refused_with_what_it_lacks(settings):
    class Custom(StateSpaceRecommender):
        def encode(self, item_seq, item_seq_len):
            return self.embed(item_seq)[:, 0]

    for changed, lacks in (
        ({"train_positions": "all"}, "a model with encode_all"),
        ({"time_gaps": True}, "with time_seq"),
    ):
        config = Config(Custom, "cycle", config_dict={**settings, **changed})
        with pytest.raises(ValueError, match=lacks):
            Custom(config, Items(20))


def test_a_setting_of_another_model_is_not_there_for_one_that_ignores_it(settings):
    config = Config("SASRec", "cycle", config_dict={**settings, "train_positions": "all", "causal": True})
    assert config["train_positions"] is None
    assert config["causal"] is None
