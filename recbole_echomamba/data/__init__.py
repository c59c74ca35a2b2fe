"""Read atomic files into RecBole's dataset and loaders, without a padded copy of every prefix."""

from recbole_echomamba.data.preparation import create_dataset, data_preparation

__all__ = ["create_dataset", "data_preparation"]
