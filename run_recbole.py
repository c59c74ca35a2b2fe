"""Train and test one model: ``python run_recbole.py --model=EchoMamba4Rec --dataset=ml-100k``."""

import sys

from recbole_echomamba.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]], prog="python run_recbole.py"))
