"""From your own click log to recommendations: prepare a CSV file, train on it, recommend with the log's own ids."""

import csv
import sys
from datetime import datetime, timedelta
from pathlib import Path

from dataset_prep.__main__ import main as prepare
from recbole_echomamba import recommend, run

# Stands for a log of your own: 40 customers, each of whom buys one of six things a day, always in this order.
ITEMS = ["bread", "butter", "cheese", "honey", "milk", "tea"]
CUSTOMERS = [f"customer-{number}" for number in range(40)]
DAYS = 14

SETTINGS = {
    "data_path": "dataset",
    "epochs": 20,
    "learning_rate": 0.02,
    "hidden_size": 16,
    "d_state": 4,
    "MAX_ITEM_LIST_LENGTH": 10,
    "topk": [1, 5],
    "valid_metric": "NDCG@5",
    "show_progress": False,
    "state": "WARNING",
}


def write_log(file: Path) -> None:
    first_day = datetime(2024, 1, 1)
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["customer", "product", "bought_at"])
        for day in range(DAYS):
            for number, customer in enumerate(CUSTOMERS):
                item = ITEMS[(number + day) % len(ITEMS)]
                rows.writerow([customer, item, (first_day + timedelta(days=day)).isoformat()])


if __name__ == "__main__":
    write_log(Path("purchases.csv"))
    # the same as `python -m dataset_prep table --raw purchases.csv --name shop ...`; it writes dataset/shop/shop.inter
    columns = ["--user-col=customer", "--item-col=product", "--time-col=bought_at"]
    if prepare(["table", "--raw=purchases.csv", "--name=shop", *columns]) != 0:
        sys.exit("purchases.csv was not prepared")
    result = run("Mamba4Rec", "shop", config_dict=SETTINGS)
    print(f"test Hit@1 {result['test_result']['hit@1']:.2f}, run directory {result['run_directory']}")
    print(recommend(result["run_directory"], users=["customer-0", "customer-1"], topk=2).to_string(index=False))
    print(recommend(result["run_directory"], history=["honey", "milk"], topk=1).to_string(index=False))
