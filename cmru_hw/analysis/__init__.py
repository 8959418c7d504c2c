"""Questions asked of a design: Monte-Carlo, energy, corners, retention, comparison."""
