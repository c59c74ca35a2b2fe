"""Make ``python -m recbole_echomamba`` the same as the installed command ``echomamba``."""

import sys

from recbole_echomamba.cli import main

if __name__ == "__main__":
    sys.exit(main())
