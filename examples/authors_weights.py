"""Exchange weights with the authors' own code of EchoMamba4Rec (github.com/wyd0042/EchoMamba4Rec), in both directions.

    python examples/authors_weights.py [weights.pt]

`weights.pt` is the state dict of a model that the authors' code trained on ml-100k. RecBole's checkpoints hold one beside
pickled objects; save it by itself, where you trust the checkpoint: `torch.save(checkpoint["state_dict"], "weights.pt")`.
The settings below must be those of the training. Without an argument, the example trains a model and writes such a file first.
"""

import sys

import torch

from recbole_echomamba import Config, Trainer, create_dataset, data_preparation, get_model, load_run, run
from recbole_echomamba.models import load_official_state_dict, official_state_dict

SETTINGS = {
    "epochs": 1,
    "learning_rate": 0.01,
    "hidden_size": 16,
    "d_state": 4,
    "MAX_ITEM_LIST_LENGTH": 10,
    "show_progress": False,
    "state": "WARNING",
}


def write_weights(file: str) -> None:
    result = run("EchoMamba4Rec", "ml-100k", config_dict=SETTINGS)
    _, model, *_ = load_run(result["run_directory"])
    weights = official_state_dict(model)
    torch.save(weights, file)
    print(f"trained, NDCG@10 {result['test_result']['ndcg@10']:.4f}; wrote {len(weights)} tensors to {file}, such as")
    for name in list(weights)[:3]:
        print(f"    {name} {list(weights[name].shape)}")


def evaluate_weights(file: str) -> None:
    config = Config("EchoMamba4Rec", "ml-100k", config_dict=SETTINGS)
    # items get the numbers they have in RecBole, so the rows of the embedding mean the same
    train, _, test = data_preparation(config, create_dataset(config))
    model = get_model("EchoMamba4Rec")(config, train.dataset).to(config["device"])
    # raises ValueError naming the first tensor that is missing, unknown or of another shape
    load_official_state_dict(model, torch.load(file, weights_only=True))
    tested = Trainer(config, model).evaluate(test, load_best_model=False)
    print(f"loaded {file}, NDCG@10 {tested['ndcg@10']:.4f}")


if __name__ == "__main__":
    weights_file = sys.argv[1] if len(sys.argv) > 1 else "weights.pt"
    if len(sys.argv) == 1:
        write_weights(weights_file)
    evaluate_weights(weights_file)
