"""From a trained recurrent network with quantized, hysteretic states to a SPICE circuit, its yield and its energy."""

__version__ = "0.1.0"
