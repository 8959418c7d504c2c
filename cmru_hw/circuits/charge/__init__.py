"""The charge domain (``sc``): comparators and capacitive integrators.

The modules, in the order of the pipeline:

::

    design.py  mapping.py          Trained × Technology → Design: every capacitor and voltage, and back
    fidelity.py                    the two levels of a netlist, macro and transistor, and a technology at each
    macro_netlist.py               network.cir and deck at macro level, with macro_stimulus.py (files that a deck reads)
                                   and trim_netlist.py (replicas and taps)
    transistor_netlist.py          network.cir at transistor level for any memory, from transistor_parts.py
    transistor_deck.py             its deck; deck_builder.py has the parts that decks of both levels share
    memories/                      state storage in transistors: memory.py is the protocol, registry.py the list;
                                   clocked_netlist.py, power_gated_netlist.py and power_gated_trim.py have their lines,
                                   power_gated_replaced.py (BMRU) and power_gated_alpha.py (αCMRU) those of other cells
    simulate.py                    run a design in ngspice and decode it; runs.py makes the decks, pieces.py and part.py
                                   cut large networks, causes.py and trim_codes.py read rows and codes, numerics.py has
                                   the simulator's options
    compare.py                     the comparison with software; tolerance.py says how close is too close to call,
                                   continuation.py continues software from a decision of the circuit
    verify.py  certify.py          simulate again with smaller steps, until the result holds
    variation.py  noise.py         the mismatch of a die, and noise in time
    trim.py                        trim codes; trim_search.py finds them in the fast engine, trim_windows.py in SPICE
    fast/                          the same design as equations, many dies at a time
    dies.py  row_errors.py         Monte-Carlo, and the estimate without a simulation
    chip_dies.py                   dies of a chip in transistors: device_draws.py has the deviations of its devices,
                                   die_blocks.py measures the blocks of a die and makes its macro twin
    energy/  area.py               energy models and area
    corners.py  supply.py          another corner, another supply; measured_technology.py measures the transistors there
    retention.py  single_unit.py   one unit that holds its state; one unit alone
    architecture.py                all of this behind the `Architecture` protocol
"""
