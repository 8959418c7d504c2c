"""The same network as a digital datapath: an estimate from simulated gates, to compare a circuit with."""
