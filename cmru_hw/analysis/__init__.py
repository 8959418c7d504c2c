"""Analyses of a design: Monte-Carlo, energy, corners, retention, comparison."""
