"""State memories of a transistor-level netlist: one module for each memory, and their registry."""
