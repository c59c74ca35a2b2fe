"""Train a custom model: subclass StateSpaceRecommender, write `encode`, and name the class wherever a model is named:

    python run_recbole.py --model=examples/custom_model.py:GatedMamba --dataset=ml-100k --epochs=10

The item embedding, the loss, prediction and scoring come from the base class. Every setting of the command line works too, but
two need more of the model: `time_gaps` an `encode` that takes `time_seq` and passes it to `embed`, and `train_positions: all` an
`encode_all`.
"""

import torch
from torch import Tensor, nn

from recbole_echomamba import load_run, run
from recbole_echomamba.layers import DropoutNorm, Mamba, at_position
from recbole_echomamba.models.base import StateSpaceRecommender


class GatedMamba(StateSpaceRecommender):
    """One Mamba layer over the history, mixed with the last item by a learned gate."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        width = config["hidden_size"]
        self.mamba = Mamba(width, d_state=config["d_state"])
        self.norm = DropoutNorm(width, config["dropout_prob"])
        self.gate = nn.Linear(2 * width, width)
        self.reset_parameters()

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Encode item ids `[B, L]`, padded on the right, and lengths `[B]` as one vector per history, `[B, d]`."""
        position = item_seq_len - 1
        hidden_states = self.embed(item_seq)
        last = at_position(hidden_states, position)
        # forward_at computes the scan at one position of each row, which is all that the prediction reads
        history = self.norm(self.mamba.forward_at(hidden_states, position), last)
        share = torch.sigmoid(self.gate(torch.cat([history, last], dim=-1)))
        return share * history + (1 - share) * last


SETTINGS = {
    "epochs": 1,
    "learning_rate": 0.01,
    "hidden_size": 16,
    "d_state": 4,
    "MAX_ITEM_LIST_LENGTH": 10,
    "show_progress": False,
    "state": "WARNING",
}

if __name__ == "__main__":
    result = run(GatedMamba, "ml-100k", config_dict=SETTINGS)
    print(f"GatedMamba with {result['parameters']} parameters, NDCG@10 {result['test_result']['ndcg@10']:.4f}")
    # a class of a script cannot be imported by its name, so load_run needs it; trained with --model=FILE:CLASS it does not
    config, model, dataset, *_ = load_run(result["run_directory"], model=GatedMamba)
    print(
        f"loaded again from {result['run_directory']}, it scores {model.score(torch.zeros(1, 16)).shape[1] - 1} items"
    )
