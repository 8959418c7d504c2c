"""Cost of a macro-level transient: CPU time per unit and timestep, and its growth with both.

Run: ``python -m benchmarks.transient``. One layer, 12 inputs, random weights, every capacitor a capacitor in the
netlist; the decisions of every run are compared with software. CPU time is ngspice's own, loading included.
"""

from __future__ import annotations

import numpy as np
import torch

from cmru_hw import spice
from cmru_hw.circuits.charge import mapping
from cmru_hw.circuits.charge.verify import verify
from cmru_hw.nn.checkpoint import ModelConfig, Trained
from cmru_hw.nn.sequences import Sequences
from cmru_hw.process import technology

UNITS = (4, 16, 64)
TIMESTEPS = (100, 400, 1600)
FEATURES = 12
REPEATS = 3


def network(units: int) -> Trained:
    """A random CMRU layer with input-dependent thresholds and K = 7."""
    config = ModelConfig(
        cell="cmru",
        epsilon=1.0,
        levels=7,
        skip=False,
        decision="mean",
        classes=("no", "yes"),
        features=FEATURES,
        units=(units,),
    )
    generator = torch.Generator().manual_seed(units)
    tensors = {
        name: torch.randn(tensor.shape, generator=generator) for name, tensor in config.network().state_dict().items()
    }
    tensors["input.scale"].fill_(1.0)
    tensors["layers.0.initial_state"].sign_()
    return Trained(config=config, tensors=tensors)


def exponent(sizes: tuple[int, ...], costs: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def main() -> None:
    cost: dict[tuple[int, int], float] = {}
    rng = np.random.default_rng(0)
    print("units  timesteps  CPU [s]  per unit and timestep [ms]  decisions that agree")
    with spice.open_engine() as engine:
        for units in UNITS:
            trained = network(units)
            for timesteps in TIMESTEPS:
                data = Sequences(inputs=rng.normal(size=(1, timesteps, FEATURES)).astype(np.float32))
                design = mapping.map_network(trained, technology.load("macro"), mapping.calibrate(trained, data))
                runs = [verify(design, trained, data, engine) for _ in range(REPEATS)]
                seconds = float(np.median([run.simulation.cpu_seconds for run in runs]))
                cost[units, timesteps] = seconds
                result = runs[0].comparison
                print(
                    f"{units:5d}  {timesteps:9d}  {seconds:7.3f}  {1e3 * seconds / units / timesteps:26.4f}  "
                    f"{result.agree} of {result.total}, {result.excluded} too close to call"
                )
    by_units = [exponent(UNITS, [cost[u, t] for u in UNITS]) for t in TIMESTEPS]
    by_time = [exponent(TIMESTEPS, [cost[u, t] for t in TIMESTEPS]) for u in UNITS]
    print("growth exponent in units, at each number of timesteps:", *(f"{e:.3f}" for e in by_units))
    print("growth exponent in timesteps, at each number of units:", *(f"{e:.3f}" for e in by_time))


if __name__ == "__main__":
    main()
