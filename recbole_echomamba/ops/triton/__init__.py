"""The selective scan on a GPU in Triton kernels; what surrounds the scan is left to PyTorch."""

from recbole_echomamba.ops.reference import conv_silu, dropout_norm, step_sizes, walks_from
from recbole_echomamba.ops.triton.scan import scan_at, selective_scan

__all__ = ["conv_silu", "dropout_norm", "scan_at", "selective_scan", "step_sizes", "walks_from"]
