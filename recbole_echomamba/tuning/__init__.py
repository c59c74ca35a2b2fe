"""Search the settings of a model by validation, with Hyperopt or Ray Tune."""
