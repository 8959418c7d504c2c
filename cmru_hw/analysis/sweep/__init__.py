"""Sizes, supplies, corners, technologies and architectures in one table."""
