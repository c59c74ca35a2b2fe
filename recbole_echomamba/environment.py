"""What has to be set before torch is imported."""

import os

# An OpenMP thread that has nothing to do spins for milliseconds by default, on the core that a kernel of ops/cpu.py needs:
# two threads were 1.3 times as fast as one, and are 1.65 times as fast when waiting threads sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
