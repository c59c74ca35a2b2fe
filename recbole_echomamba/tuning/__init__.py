"""Search the settings of a model by validation, with Optuna, Hyperopt or Ray Tune."""
