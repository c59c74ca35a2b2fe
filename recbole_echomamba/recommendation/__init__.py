"""Recommend items from a trained run."""

from recbole_echomamba.recommendation.recommender import Recommender, recommend

__all__ = ["Recommender", "recommend"]
