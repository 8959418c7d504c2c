"""Energy by block: charge accounts of a deck, what they cost, and the hand calculation beside them."""
