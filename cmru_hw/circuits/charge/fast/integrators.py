"""The state after packets, finite gain and leakage.

With C_s, C_int, gain A, r = C_s/C_int, state y = V_o − V_cm and ζ = V_zp − V_cm, the charge at the virtual ground
V_x = V_cm − y/A is conserved while a packet of V volts is sent::

    C_int (1 + 1/A) y + C_s (V − ζ) = (C_int (1 + 1/A) + C_s/A) y'
    y' = ρ y + g (V − ζ),    ρ = (1 + 1/A) / (1 + (1 + r)/A),    g = r / (1 + (1 + r)/A)

so finite gain shortens the packet and also lets a share 1 − ρ of the held state leak into C_s, but only when a packet
is sent: without a decision the left plate floats and nothing moves. A packet that has not settled is equivalent to a
smaller C_s. Leakage moves the state by I T / (C_int (1 + 1/A)) in every timestep. A packet is sent only while the state
is below the level limit. A unit that replaces its state empties C_int first, which is ρ = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmru_hw.circuits.charge.design import Design, Layer
from cmru_hw.circuits.charge.fast.batching import Packed
from cmru_hw.circuits.charge.noise import NoiseSource
from cmru_hw.circuits.charge.variation import Dies
from cmru_hw.core import kernels
from cmru_hw.core.signals import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Integrators:
    """The integrators of one layer, (dies, units) each.

    A packet adds ``half`` [V] in its direction (times the packet's voltage, if that is not a reference), ``common`` [V]
    in either direction, and ``noise``. It removes the share ``lost`` of the state. ``slope`` [V per timestep] is the
    drift by leakage, ``limit`` [V] the state magnitude beyond which outward packets are suppressed. After power-on,
    when the layer first reads it, the state is ``begun`` [V] plus ``begun_noise``.
    """

    half: Array
    common: Array
    noise: NoiseSource
    lost: Array
    slope: Array
    limit: Array
    begun: Array
    begun_noise: NoiseSource

    @classmethod
    def of(cls, dies: Dies, layer: Layer, source: NoiseSource, *, released: float) -> Integrators:
        """Integrators of ``layer`` with noise ``source``; ``released`` [timesteps] is the drift time after power-on."""
        batch = dies.batch
        settled = 1 - layer.unsettled
        packet, retained = sent(layer.packet / layer.integrator * settled, layer.gain)
        if dies.nominal.config.epsilon == 0.0 and layer.packet_row is None:
            retained = np.zeros_like(retained)
        up, down = batch.reference_up[:, None], batch.reference_down[:, None]
        error = -packet * layer.packet_offset
        if layer.packet_row is None:
            # g (V − ζ) up, −g (V + ζ) down: ``half`` changes sign with the decision, ``common`` does not.
            half, common = packet * (up + down) / 2, packet * (up - down) / 2 + error
        else:
            half, common = packet, error
        start, _ = sent(layer.start_packet / layer.integrator * settled, layer.gain)
        slope = drift(dies.nominal, layer)
        forced = np.where(layer.initial > 0, up, -down)
        return cls(
            half=half,
            common=common,
            noise=replace(source, sigma=source.sigma * -packet[:, None]),
            lost=1 - retained,
            slope=slope,
            limit=layer.limit,
            begun=start * (forced - layer.packet_offset) + slope * released,
            begun_noise=replace(source, start=source.start * -start[:, None]),
        )

    def follow(self, die: int, moves: NDArray[np.int8], third: Array, packed: Packed, states: Array) -> None:
        """Write the states (units, places) [V from V_cm] of one die to ``states``, as they follow from ``moves``.

        ``third`` (units, places) are the packets' voltages [V] if these are not references, else of shape (0, 0).
        """
        noise = self.noise
        kernels.follow(
            moves,
            third,
            self.half[die],
            self.common[die],
            noise.key[die],
            noise.sigma[die],
            noise.octave,
            packed.moment,
            packed.alive,
            self.begun[die][:, None] + self.begun_noise.at_start(die, packed.order),
            self.slope[die],
            self.lost[die],
            self.limit[die],
            states,
        )


def sent(ratio: Array, gain: Array) -> tuple[Array, Array]:
    """g and ρ (see the module's docstring) of packets with r = ``ratio``."""
    short = 1 + (1 + ratio) / gain
    return ratio / short, (1 + 1 / gain) / short


def drift(nominal: Design, layer: Layer) -> Array:
    """(dies, units) [V per timestep]: drift of the state by leakage."""
    capacitance = layer.integrator * (1 + 1 / layer.gain)
    return np.asarray(layer.leak * nominal.technology.timing.timestep / capacitance)
