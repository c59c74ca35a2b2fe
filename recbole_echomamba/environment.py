"""Set environment variables that torch reads when it is imported, and hide what users of RecBole cannot change."""

import os
import warnings

# By default, an idle OpenMP thread spins for milliseconds on a core that the Numba kernels in ops/numba need. With two threads
# they are 1.3 times as fast as with one, and 1.65 times when idle threads sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The code of RecBole and Hyperopt has old spellings of pandas, torch and setuptools, which warn at every run.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
warnings.filterwarnings("ignore", category=UserWarning, module=r"hyperopt\.")
