"""A table of designs with the results of each."""
