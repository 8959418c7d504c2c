"""Convergence of simulator options: loose, chosen and reference options for each kind of transistor deck."""
