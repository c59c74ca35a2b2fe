"""Merge and check settings, and find the class of a model by its name."""
