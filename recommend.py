"""Write recommendations from a run directory: ``python recommend.py --run=RUN --all --topk=10 --out=top.csv``."""

import sys

from recbole_echomamba.cli import main

if __name__ == "__main__":
    sys.exit(main(["recommend", *sys.argv[1:]], prog="python recommend.py"))
