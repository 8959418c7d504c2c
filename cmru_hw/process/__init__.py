"""A fabrication process: its technology file, its device models and the devices of a netlist."""

CORNERS = ("typical", "ff", "ss", "fs", "sf")
"""Process corners: of the n device, then of the p device, fast or slow."""
