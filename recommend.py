"""Recommend from a run directory: ``python recommend.py --run=DIR --all --topk=10 --out=top.csv``."""

import sys

from recbole_echomamba.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["recommend", *sys.argv[1:]]))
