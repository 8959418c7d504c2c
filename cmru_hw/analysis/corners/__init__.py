"""Process, supply and temperature: a design at each of their corners."""
