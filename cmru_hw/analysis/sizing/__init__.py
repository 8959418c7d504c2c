"""Search the sizes and the trim of a circuit that reaches a yield at the least energy or area, and prove it."""
