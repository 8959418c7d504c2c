"""Architecture ``cm``: the FQ-BMRU in current mode, after arXiv:2605.15216 and arXiv:2605.07936.

Currents are the signals. A layer's weights are the widths of current mirrors, a ReLU is a diode, and a unit is a cell
of nine transistors with hysteresis. There is no clock. One software unit is one nanoampere unless the technology
specifies otherwise. The steps are those of the charge domain, in modules of the same names:

::

    technology.py     CurrentTechnology: limits, and the measured behavior of cell and mirrors
    mapping.py        Trained × CurrentTechnology → CurrentDesign, and back; every deviation reported
    netlist.py        CurrentDesign × stimulus × devices → Deck
    simulate.py       run a deck; decode states, decisions, logits and the charge of every supply
    compare.py        the comparison with software
    characterize.py   source of a technology's tables: sweeps of the cell and of mirrors

The authors of the circuit name two patent applications for it, EP26175243.0 and EP26175248.9.
"""
