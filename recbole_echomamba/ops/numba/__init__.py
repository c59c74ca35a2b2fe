"""The operations on a CPU: one file each, with its Numba kernels, autograd function and entry.

They compute float32 and float64 and run on as many threads as torch uses; see :mod:`.threads`.
"""

from recbole_echomamba.ops.numba.convolution import conv_silu
from recbole_echomamba.ops.numba.dropout_norm import dropout_norm
from recbole_echomamba.ops.numba.packing import walks_from
from recbole_echomamba.ops.numba.scan import selective_scan
from recbole_echomamba.ops.numba.scan_at import scan_at
from recbole_echomamba.ops.numba.step_sizes import step_sizes

__all__ = ["conv_silu", "dropout_norm", "scan_at", "selective_scan", "step_sizes", "walks_from"]
