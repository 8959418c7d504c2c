"""The numbers of a technology with their units, and the ranges outside of which they are a slip of the pen.

A range is wide enough for every process that such circuits are built in, and narrow enough to find a supply in mV, a
capacitor in F or a temperature in degrees Celsius.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Values from ``low`` to ``high`` in ``unit``, and 0 if ``zero``."""

    unit: str
    low: float
    high: float
    zero: bool = False

    def problem(self, value: float) -> str:
        """The fault of ``value`` and its remedy; empty if ``value`` is allowed."""
        if self.low <= value <= self.high or (self.zero and value == 0):
            return ""
        unit = f" {self.unit}".rstrip()
        zero = "0, or " if self.zero and self.low > 0 else ""
        return f"is {value:g}{unit}, must be {zero}{self.low:g} to {self.high:g}{unit}; write it in SI units"


VOLT = Allowed(unit="V", low=1e-3, high=10)
SMALL_VOLT = Allowed(unit="V", low=0, high=1)
SECOND = Allowed(unit="s", low=1e-12, high=1e3)
FARAD = Allowed(unit="F", low=1e-17, high=1e-8)
FARAD_OR_0 = Allowed(unit="F", low=0, high=1e-8)
METRE = Allowed(unit="m", low=1e-9, high=1e-1)
AMPERE = Allowed(unit="A", low=1e-18, high=1e-1)
COULOMB = Allowed(unit="C", low=0, high=1e-9)
JOULE = Allowed(unit="J", low=0, high=1e-3)
WATT = Allowed(unit="W", low=0, high=1)
SHARE = Allowed(unit="", low=0, high=10)
# A global factor is 1 plus a normal draw of this size: larger ones turn its sign.
UNIT_SHARE = Allowed(unit="", low=0, high=1)

_SECTIONS: dict[str, dict[str, Allowed]] = {
    "supply": {"vdd": Allowed(unit="V", low=0.2, high=10), "common_mode": Allowed(unit="V", low=0.02, high=10)},
    "signal": dict.fromkeys(("state_swing", "input_swing", "bias", "reference"), VOLT),
    "timing": {"timestep": SECOND, "phase": Allowed(unit="", low=1e-9, high=0.5)},
    "capacitor": {
        **dict.fromkeys(("row", "integrator", "sample"), FARAD),
        **dict.fromkeys(("minimum", "step", "parasitic"), FARAD_OR_0),
    },
    "amplifier": {"gain": Allowed(unit="V/V", low=1, high=1e12), "time_constant": Allowed(unit="s", low=0, high=1e3)},
    "leakage": {"integrator": Allowed(unit="A", low=0, high=1e-3)},
    "switch": dict.fromkeys(("row_injection", "packet_injection"), COULOMB),
    "noise": {
        "temperature": Allowed(unit="K", low=200, high=500, zero=True),
        **dict.fromkeys(("comparator", "wander"), SMALL_VOLT),
    },
    "mismatch": {
        "capacitor": Allowed(unit="m", low=0, high=1e-4),
        "density": Allowed(unit="F/m2", low=1e-7, high=10),
        "threshold": Allowed(unit="V m", low=0, high=1e-5),
        **dict.fromkeys(("pair_width", "pair_length"), METRE),
        **dict.fromkeys(("comparator_rest", "limit", "amplifier"), SMALL_VOLT),
        **dict.fromkeys(("gain", "leakage", "injection"), SHARE),
        **dict.fromkeys(
            [f"global_{name}" for name in ("capacitor", "gain", "leakage", "injection")],
            Allowed(unit="", low=0, high=1),
        ),
        **dict.fromkeys(("global_reference", "global_bias"), SHARE),
    },
    "energy": {
        **dict.fromkeys(("comparators", "amplifier", "logic", "clocks"), JOULE),
        **dict.fromkeys([f"{name}_leakage" for name in ("comparators", "amplifier", "logic", "clocks")], WATT),
    },
    "trim": {
        # more would be finer than the noise of any comparator here
        "bits": Allowed(unit="bits", low=0, high=8),
        "reach": Allowed(unit="V", low=1e-6, high=1),
        "bridge": Allowed(unit="", low=0.1, high=10),
        "repeats": Allowed(unit="decisions", low=1, high=1001),
        "row": FARAD,
        **dict.fromkeys(("energy_least", "energy", "energy_most"), JOULE),
        "leakage": WATT,
        "area": Allowed(unit="m2", low=0, high=1e-6),
        **dict.fromkeys(("drift_temperature", "drift_supply", "drift_supply_states"), SMALL_VOLT),
    },
    "transistor": {
        **dict.fromkeys(("evaluate", "read", "decide", "settle", "gap", "edge"), SECOND),
        **dict.fromkeys(("row", "integrator", "limit", "minimum", "piece", "parasitic", "wire"), FARAD),
    },
    "power_gated": {
        "strobe": SECOND,
        **dict.fromkeys(("swing", "input_swing", "zero"), VOLT),
        **dict.fromkeys(("evaluate_fall", "evaluate_rise", "read_fall", "read_rise", "settle", "rest", "tail"), METRE),
        **dict.fromkeys(("row", "integrator", "limit", "flying", "holding", "load"), FARAD),
    },
    "long_channel": {
        "oxide": Allowed(unit="F/m2", low=1e-6, high=10),
        **dict.fromkeys(("overlap", "junction"), Allowed(unit="F/m", low=1e-14, high=1e-5)),
        **dict.fromkeys(("slope_n", "slope_p"), Allowed(unit="A/V2", low=1e-9, high=1)),
        "threshold": Allowed(unit="V", low=1e-2, high=5),
    },
}
CHARGE = {f"{section}.{key}": allowed for section, keys in _SECTIONS.items() for key, allowed in keys.items()}
"""Of a charge-domain technology, as "supply.vdd"."""

CURRENT = {
    "temperature": Allowed(unit="degrees Celsius", low=-75, high=200),
    "vdd": Allowed(unit="V", low=0.2, high=10),
    "timestep": SECOND,
    **dict.fromkeys(("unit", "bias", "full_scale", "smallest", "largest"), AMPERE),
    **dict.fromkeys(("width", "length", "sink_length", "narrow", "widest", "longest"), METRE),
    "grid": Allowed(unit="m", low=0, high=1e-5),
    "leakage": Allowed(unit="A", low=0, high=1e-6),
    **dict.fromkeys(("mismatch_n", "mismatch_p"), Allowed(unit="m", low=0, high=1e-3)),
}
"""Of a current-mode technology."""
