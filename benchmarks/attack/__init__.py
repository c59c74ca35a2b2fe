"""Try to break the promises of the project, and count what happened: ``python -m benchmarks.attack``."""
