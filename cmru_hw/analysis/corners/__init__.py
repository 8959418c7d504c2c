"""A design at corners of process, supply and temperature."""
