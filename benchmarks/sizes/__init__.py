"""Run the five benchmarks at their true size: ``python -m benchmarks.sizes``."""
