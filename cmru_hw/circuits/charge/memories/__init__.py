"""How the units of a transistor netlist hold their level: one module for each memory, and their registry."""
