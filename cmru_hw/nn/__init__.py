"""The software model: cells, scan, checkpoints, training."""
