"""Search the settings of one model: ``python run_hyper.py --model=EchoMamba4Rec --dataset=ml-100k``."""

import sys

from recbole_echomamba.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]], prog="python run_hyper.py"))
