"""Imported once by the server that forks the attacked processes; no thread may be started here."""

import recbole_echomamba.cli
import recbole_echomamba.comparison.compare
import recbole_echomamba.comparison.report
import recbole_echomamba.experiment
import recbole_echomamba.tuning.tune  # noqa: F401
