"""The folder that ``export`` writes and the other commands read."""
