"""Energy by block: charge meters of a deck, their energies, and the analytic estimate."""
