"""Inspect trained runs: a page on what they have learnt."""

from recbole_echomamba.inspection.page import inspect

__all__ = ["inspect"]
