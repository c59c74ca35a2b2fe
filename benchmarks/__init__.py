"""Measure speed and memory of several models side by side; every such figure in the README comes from here."""

# Import it before torch: it sets how threads wait, which torch reads when it is imported.
import recbole_echomamba  # noqa: F401
