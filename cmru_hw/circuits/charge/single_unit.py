"""One unit of a network, driven by the inputs that software gives it: as exact a test at a tenth of the cost."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge.compare import reference
from cmru_hw.circuits.charge.design import Design, Layer, Row
from cmru_hw.circuits.charge.mapping import outputs
from cmru_hw.circuits.charge.memories import registry
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Array, Response
from cmru_hw.nn import levels
from cmru_hw.nn.checkpoint import Trained
from cmru_hw.nn.sequences import Sequences


def unit(design: Design, layer: int, number: int) -> Design:
    """Unit ``number`` of ``layer`` as a network of one unit, without readout.

    Its inputs are the lines that the layer reads, in V above the common mode: see `recorded`. Raises InputError if the
    lines are bits of counters, which a voltage cannot represent.
    """
    memory = registry.of(design.technology)
    if layer > 0 and memory and memory.bits:
        raise InputError(f"layer {layer} reads bits of counters: only units of layer 0 can be simulated alone")
    layer_of_unit = design.layers[layer]
    units = np.array([number])
    of_lines = ("line_unit", "line_sign", "spread")
    own = [field.name for field in fields(Layer) if field.name not in of_lines]
    sliced: dict[str, Any] = {name: _one(getattr(layer_of_unit, name), units) for name in own}
    lines = layer_of_unit.low.weights.shape[1]
    # The value of a line is its voltage.
    chosen = replace(layer_of_unit, **sliced, line_unit=np.ones(lines), line_sign=np.ones(lines), spread=np.eye(lines))
    readout_unit, readout_sign, readout_spread = outputs(chosen, design.technology)
    readout = _one(design.readout, np.array([], dtype=np.int64))
    return replace(
        design,
        config=replace(
            design.config,
            features=lines,
            units=(1,),
            skip=False,
            levels=levels.of_unit(design.config.levels, layer, number),
        ),
        calibration=replace(
            design.calibration,
            inputs=(np.inf,) * lines,
            largest=(np.inf,) * lines,
            states=(design.calibration.states[layer],),
        ),
        input_unit=np.ones(lines),
        input_scale=np.ones(lines),
        input_offset=np.zeros(lines),
        layers=(chosen,),
        readout=replace(readout, weights=np.zeros((0, len(readout_unit)))),
        readout_unit=readout_unit,
        readout_sign=readout_sign,
        readout_spread=readout_spread,
        deviations=(),
    )


def recorded(design: Design, trained: Trained, sequences: Sequences, layer: int) -> tuple[Sequences, Response]:
    """Line voltages of ``layer`` [V above V_cm] in the software run of ``sequences``, and the software response."""
    response = reference(design, trained, sequences).response
    common = design.technology.supply.common_mode
    lines: Array = design.voltages(sequences.inputs) - common
    for index in range(layer):
        own = response.states[index] * design.layers[index].step
        lines = np.concatenate([own, lines], axis=2) if design.config.skip else own
    return replace(sequences, inputs=lines.astype(np.float32)), response


def _one(value: Any, units: NDArray[np.int64]) -> Any:
    """The ``units`` of a value that has one entry or one row per unit."""
    if isinstance(value, Row):
        return Row(**{field.name: getattr(value, field.name)[units] for field in fields(Row)})
    return value[units] if isinstance(value, np.ndarray) else value
