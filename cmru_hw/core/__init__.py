"""Errors, units, signals, files and compiled loops. All parts use it, and it imports nothing else of the package."""
