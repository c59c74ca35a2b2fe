"""Compare models on the same data, split, loss and budget: runs, tests over users, report and plots."""
