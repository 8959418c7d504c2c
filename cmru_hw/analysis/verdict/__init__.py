"""Will this network work as a circuit? An estimate from margins and error budgets, before any simulation."""
