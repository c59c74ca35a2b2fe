"""Search settings: ``python run_hyper.py --model=EchoMamba4Rec --dataset=ml-100k``."""

import sys

from recbole_echomamba.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
