"""Designs next to each other, with the results of each."""
