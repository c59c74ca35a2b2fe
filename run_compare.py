"""Compare models: ``python run_compare.py --models=EchoMamba4Rec,SASRec --dataset=ml-100k``."""

import sys

from recbole_echomamba.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]], prog="python run_compare.py"))
