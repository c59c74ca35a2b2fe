"""Set environment variables that torch reads when it is imported, and prepare for RecBole: its warnings, and its absence."""

import os
import sys
import warnings

INSTALL_RECBOLE = "pip install --no-deps recbole==1.2.1"
"""RecBole is no requirement of this package: pip cannot meet RecBole's own requirements on Python 3.12 and later."""

# By default, an idle OpenMP thread spins for milliseconds on a core that the Numba kernels in ops/numba need. With two threads
# they are 1.3 times as fast as with one, and 1.65 times when idle threads sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The code of RecBole and Hyperopt has old spellings of pandas, torch and setuptools, which warn at every run.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
warnings.filterwarnings("ignore", category=UserWarning, module=r"hyperopt\.")


class MissingRecBole:
    """A finder of modules that is asked for RecBole only where no other finds it, and says how to install it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Find no module.

        Raises:
            ModuleNotFoundError: RecBole is not installed.
        """
        if name == "recbole":
            raise ModuleNotFoundError(f"RecBole is not installed; install it with: {INSTALL_RECBOLE}", name=name)


sys.meta_path.append(MissingRecBole)
