"""What packets, finite gain and leakage make of a state.

With C_s, C_int, gain A, r = C_s/C_int, state y = V_o − V_cm and ζ = V_zp − V_cm, the charge at the virtual ground
V_x = V_cm − y/A is conserved while a packet of V volts is sent::

    C_int (1 + 1/A) y + C_s (V − ζ) = (C_int (1 + 1/A) + C_s/A) y'
    y' = ρ y + g (V − ζ),    ρ = (1 + 1/A) / (1 + (1 + r)/A),    g = r / (1 + (1 + r)/A)

so finite gain shortens the packet and also lets a share 1 − ρ of the held state leak into C_s, but only when a packet
is sent: with no decision the left plate floats and nothing moves. A packet that has not settled is one of a smaller
C_s. Leakage moves the state by I T / (C_int (1 + 1/A)) per timestep, always. A packet is sent only while the state is
below the level limit. A unit that replaces its state empties C_int first, which is ρ = 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cmru_hw.behavioral.packed import Memory, Packed
from cmru_hw.mapping import Design, Layer
from cmru_hw.noise import Source
from cmru_hw.signals import Array
from cmru_hw.variation import Dies


def integrate(
    dies: Dies,
    layer: Layer,
    source: Source,
    moves: Tensor,
    third: Tensor | None,
    packed: Packed,
    state: Tensor,
    memory: Memory,
    after: Array,
) -> None:
    """Into ``after`` (dies, units, places) states [V from V_cm] just after each packet, from ``state`` on.

    ``moves`` (dies, units, places) are −1, 0 or 1, ``third`` the packets' voltages [V] where they are not references.
    """
    batch = dies.batch
    settled = 1 - layer.unsettled
    ratio = layer.packet / layer.integrator * settled
    packet = ratio / (1 + (1 + ratio) / layer.gain)
    kept = (1 + 1 / layer.gain) / (1 + (1 + ratio) / layer.gain)
    if dies.nominal.config.epsilon == 0.0 and third is None:
        kept = np.zeros_like(kept)
    up, down = batch.reference_up[:, None], batch.reference_down[:, None]
    # g (V − ζ) up, −g (V + ζ) down: the part that changes sign with the decision, and the part that does not
    half = packet if third is not None else packet * (up + down) / 2
    common = -packet * layer.packet_offset if third is not None else packet * ((up - down) / 2 - layer.packet_offset)
    _packets(after, source, moves, third, packed, half, common, -packet, memory)
    loss, slope, limit = (values[:, :, None] for values in (kept - 1, drift(dies.nominal, layer).numpy(), layer.limit))
    leaks, limited = bool(slope.any()), bool(np.isfinite(limit).any())
    way = moves.numpy()
    rising, falling = way > 0, way < 0
    before, rows = state.numpy(), moves.shape[:2]
    for count, start in zip(packed.alive, packed.starts, strict=True):
        now = slice(start, start + count)
        old, new = before[..., :count], after[..., now]
        change = memory.array("change", (*rows, count))
        sent, other = (memory.array(name, change.shape, bool) for name in ("sent", "other"))
        if leaks:
            old = old + slope
        np.multiply(old, loss, out=change)
        change += new
        if limited:
            np.less(old, limit, out=sent)
            sent &= rising[..., now]
            np.greater(old, -limit, out=other)
            other &= falling[..., now]
            sent |= other
        else:
            np.bitwise_or(rising[..., now], falling[..., now], out=sent)
        change *= sent
        np.add(old, change, out=new)
        before = new


def _packets(
    packets: Array,
    source: Source,
    moves: Tensor,
    third: Tensor | None,
    packed: Packed,
    half: Array,
    common: Array,
    noisy: Array,
    memory: Memory,
) -> None:
    """Into ``packets`` [V] what each adds to an empty integrator; where none is sent it means nothing."""
    added = memory.array("noise", packets.shape[1:])
    for die, change in enumerate(packets):
        way = moves[die].numpy()
        np.copyto(change, way)
        change *= half[die, :, None]
        if third is not None:
            change *= third[die].numpy()
        change += common[die, :, None]
        if source.parts:
            source.among(slice(die, die + 1)).on(np.flatnonzero(way != 0), packed.moment, added)
            added *= noisy[die, :, None]
            change += added


def power_on(dies: Dies, layer: Layer, source: Source, packed: Packed) -> Tensor:
    """States (dies, units, sequences in packed order) [V from V_cm] after the power-on packet."""
    ratio = layer.start_packet / layer.integrator * (1 - layer.unsettled)
    packet = torch.from_numpy(ratio / (1 + (1 + ratio) / layer.gain))[:, :, None]
    rises = torch.from_numpy(layer.initial > 0)
    up, down = (torch.from_numpy(way)[:, None] for way in (dies.batch.reference_up, dies.batch.reference_down))
    error = torch.from_numpy(layer.packet_offset)[:, :, None].expand(-1, -1, len(packed.lengths))
    if source.parts:
        error = error + source.at_start(packed.order).view(error.shape)
    return packet * (torch.where(rises, up, -down)[:, :, None] - error)


def drift(nominal: Design, layer: Layer) -> Tensor:
    """(dies, units) [V per timestep]: how leakage moves the state."""
    capacitance = layer.integrator * (1 + 1 / layer.gain)
    return torch.from_numpy(layer.leak * nominal.technology.timing.timestep / capacitance)
