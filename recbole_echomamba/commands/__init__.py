"""The commands of the command line: their arguments, and what each of them executes.

The functions named ``execute_*`` import what they need when they are called, so that ``--help`` does not load torch.
"""

from __future__ import annotations

from recbole_echomamba.commands import train, use
from recbole_echomamba.commands.command import Command

__all__ = ["COMMANDS", "Command"]

COMMANDS = {
    "run": Command(
        summary="Train and test one model.",
        usage="--model=NAME --dataset=NAME",
        examples=[
            "--model=EchoMamba4Rec --dataset=ml-100k --epochs=10",
            "--model=SASRec --dataset=ml-1m --learning_rate=0.002 --seed=7",
            "--resume=saved/RUN --epochs=400",
        ],
        add_arguments=train.add_run_arguments,
        execute=train.execute_run,
    ),
    "compare": Command(
        summary="Compare models on the same data, split, loss and budget.",
        usage="--models=NAME,NAME,... --dataset=NAME",
        examples=[
            "--models=EchoMamba4Rec,SASRec,BERT4Rec --dataset=ml-100k --seeds=2020,2021,2022",
            "--models=EchoMamba4Rec --dataset=ml-100k --variant=two:num_layers=2",
        ],
        add_arguments=train.add_compare_arguments,
        execute=train.execute_compare,
    ),
    "tune": Command(
        summary="Search settings by validation, then test the best once.",
        usage="--model=NAME --dataset=NAME",
        examples=[
            "--model=EchoMamba4Rec --dataset=ml-100k --algo=bayes --max_evals=30",
            "--model=EchoMamba4Rec --dataset=ml-100k --tool=Ray --gpus-per-trial=1",
        ],
        add_arguments=train.add_tune_arguments,
        execute=train.execute_tune,
    ),
    "recommend": Command(
        summary="Write the top-k items for users, from a run directory.",
        usage="--run=RUN (--all | --users=FILE | --history='ITEM ...' | --histories=FILE) [--out=FILE]",
        examples=[
            "--run=saved/RUN --all --topk=10 --out=top.csv",
            "--run=saved/RUN --users=ids.txt --exclude-seen --out=top.parquet",
            "--run=saved/RUN --history='1193 661 914' --titles --out=top.csv",
        ],
        add_arguments=use.add_recommend_arguments,
        execute=use.execute_recommend,
    ),
    "inspect": Command(
        summary="Write a page on the filters, memory and parts of a model.",
        usage="RUN [OTHER]",
        examples=["saved/RUN", "saved/RUN saved/OTHER --out=page.html", "saved/RUN --user=42"],
        add_arguments=use.add_inspect_arguments,
        execute=use.execute_inspect,
    ),
    "export": Command(
        summary="Write a trained model as ONNX or a torch program.",
        usage="RUN [--to=onnx|torch]",
        examples=["saved/RUN", "saved/RUN --topk=10 --out=shop.onnx", "saved/RUN --to=torch"],
        add_arguments=use.add_export_arguments,
        execute=use.execute_export,
    ),
    "card": Command(
        summary="Write a model card from the facts of a run.",
        usage="RUN",
        examples=["saved/RUN", "saved/RUN --out=card.md"],
        add_arguments=use.add_card_arguments,
        execute=use.execute_card,
    ),
}
