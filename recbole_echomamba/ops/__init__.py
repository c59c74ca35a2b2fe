"""Selective scan operations. ``reference`` defines them; faster backends must agree with it."""

from recbole_echomamba.ops.reference import selective_scan, selective_scan_at

__all__ = ["selective_scan", "selective_scan_at"]
