"""Speed and memory, measured side by side: the source of every such figure in the README."""

import recbole_echomamba  # noqa: F401  before torch, which it tells how threads wait
