"""The software truth: cells, scan, checkpoints, training."""
