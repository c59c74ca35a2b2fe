"""Speed and memory, measured side by side: the source of every such figure in the README."""
