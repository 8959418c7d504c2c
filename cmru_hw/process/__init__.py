"""A fabrication process: its technology file, its device models and the devices of a netlist."""
