"""Files, signals, hardware and memory: what the package asks of the operating system."""
