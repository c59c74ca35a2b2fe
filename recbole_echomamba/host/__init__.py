"""Everything that bends RecBole to us: configuration, data, training, evaluation, checkpoints."""
