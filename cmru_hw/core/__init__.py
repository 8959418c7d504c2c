"""Errors, units, signals, files and compiled loops: used everywhere, and imports nothing of the package."""
