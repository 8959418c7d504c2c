"""Which simulator options are converged: loose, chosen and reference options of each kind of transistor deck."""
