"""Laws of the cells: parallel equals step by step, surrogate gradients, and states behind a closed gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmru_hw.core.errors import InputError
from cmru_hw.nn.cell_config import CELLS, CellConfig
from cmru_hw.nn.cells import (
    HysteresisLayer,
    Network,
    WindowLayer,
    classify,
    decide,
    gate,
    heaviside,
    sign,
)
from cmru_hw.nn.levels import of_unit
from cmru_hw.nn.one_thread import one_thread
from cmru_hw.nn.scan import Bound, loop, parallel, scan
from tests.narrow import known

BOUNDS = [(None, None), (-3.0, 3.0), (-1.0, 2.5)]
LENGTHS = [1, 2, 7, 29, 63, 64, 65, 100, 2100]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads do not help with tensors this small, and slow tests down on a busy machine."""
    with one_thread():
        yield


def gradients(
    recur: Callable[..., Tensor],
    a: Tensor | None,
    b: Tensor,
    initial: Tensor,
    lo: Bound,
    hi: Bound,
    weight: Tensor,
) -> tuple[Tensor, ...]:
    wanted = [part for part in (a, b, initial) if part is not None]
    return torch.autograd.grad((recur(a, b, initial, lo, hi) * weight).sum(), wanted)


def leaf(tensor: Tensor) -> Tensor:
    return tensor.double().requires_grad_()


# --- The recurrence ----------------------------------------------------------------------------------------------


def case(time: int, gain: str, seed: int = 0) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
    """a, b, initial and a weight, for 3 sequences of 5 units.

    Unless ``gain`` is "any", packets are steps, so that the clamp is often at a tie.
    """
    random = torch.Generator().manual_seed(seed + time)
    weight = torch.randn(3, time, 5, generator=random).double()
    if gain == "any":
        a = torch.rand(3, time, 5, generator=random) * 1.3
        return (
            leaf(a),
            leaf(torch.randn(3, time, 5, generator=random)),
            leaf(torch.randn(3, 5, generator=random)),
            weight,
        )
    b = leaf(torch.randint(-1, 2, (3, time, 5), generator=random))
    kept = None if gain == "none" else leaf(torch.where(b == 0, 1.0, float(gain)).detach())
    return kept, b, leaf(torch.tensor([1, -1, 1, -1, 1])), weight


@pytest.mark.parametrize("time", LENGTHS)
@pytest.mark.parametrize(("lo", "hi"), BOUNDS)
@pytest.mark.parametrize("gain", ["none", "0.0", "1.0"])
def test_parallel_is_the_loop_in_value_and_gradient_ties_included(
    time: int, lo: float | None, hi: float | None, gain: str
) -> None:
    a, b, initial, weight = case(time, gain)
    assert torch.equal(parallel(a, b, initial, lo, hi), loop(a, b, initial, lo, hi))
    for ours, theirs in zip(*(gradients(f, a, b, initial, lo, hi, weight) for f in (parallel, loop)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def dense(x: Tensor, layout: str) -> Tensor:
    """x with its sequences or its timesteps first in memory, or with gaps."""
    if layout == "gaps":
        return torch.stack((x, x), dim=-1)[..., 0]
    return x.contiguous() if layout == "sequences first" else x.transpose(0, 1).contiguous().transpose(0, 1)


@pytest.mark.parametrize("layout", ["sequences first", "timesteps first", "gaps"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("lo", "hi"), BOUNDS)
@pytest.mark.parametrize("gain", ["none", "0.0", "any"])
@pytest.mark.parametrize("time", [1, 2, 40])
def test_scan_is_the_loop_bit_for_bit(
    time: int, gain: str, lo: float | None, hi: float | None, dtype: torch.dtype, layout: str
) -> None:
    *parts, weight = (None if part is None else part.detach().to(dtype) for part in case(time, gain))
    a, b, initial = (None if part is None else part.requires_grad_() for part in parts)

    def recurred(recur: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        laid = [None if part is None else dense(part, layout) for part in (a, b)]
        states = recur(*laid, initial, lo, hi)
        wanted = [part for part in (a, b, initial) if part is not None]
        return states, *torch.autograd.grad(states, wanted, weight)

    for ours, theirs in zip(recurred(scan), recurred(loop), strict=True):
        assert torch.equal(ours, theirs)


@given(
    time=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    levels=st.none() | st.floats(0.1, 4.0),
    per_sequence=st.booleans(),
    of_each=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_form_is_the_loop_for_any_nonnegative_gain(
    time: int, seed: int, levels: float | None, per_sequence: bool, of_each: bool
) -> None:
    random = torch.Generator().manual_seed(seed)
    a = leaf(torch.rand(2, time, 3, generator=random) * 1.3)
    b = leaf(torch.randn(2, time, 3, generator=random))
    initial = leaf(torch.randn((2, 3) if per_sequence else (3,), generator=random))
    highest = None if levels is None else levels * torch.tensor([1.0, 0.3, 2.0]).double() if of_each else levels
    lo, hi = None if highest is None else -highest, highest
    weight = torch.randn(2, time, 3, generator=random).double()
    expected = loop(a, b, initial, lo, hi), *gradients(loop, a, b, initial, lo, hi, weight)
    for form in (scan, parallel):
        found = form(a, b, initial, lo, hi), *gradients(form, a, b, initial, lo, hi, weight)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("form", [scan, parallel])
@pytest.mark.parametrize("bounds", [(None, None), (-0.7, 0.9)])
@pytest.mark.parametrize("time", [1, 2, 5, 8])
def test_gradient_against_finite_differences(
    time: int, bounds: tuple[float | None, float | None], form: Callable[..., Tensor]
) -> None:
    random = torch.Generator().manual_seed(3)
    a = leaf(torch.rand(2, time, 2, generator=random))
    b = leaf(torch.randn(2, time, 2, generator=random))
    initial = leaf(torch.randn(2, generator=random))
    assert torch.autograd.gradcheck(lambda *parts: form(*parts, *bounds), (a, b, initial))
    assert torch.autograd.gradcheck(lambda *parts: form(None, *parts, *bounds), (b, initial))


@pytest.mark.parametrize("form", [scan, parallel])
def test_a_gain_may_be_the_same_at_every_timestep(form: Callable[..., Tensor]) -> None:
    b = torch.randn(9, 4, 3).transpose(0, 1)
    a = torch.rand(3).requires_grad_()
    found, expected = (recur(a.expand(4, 9, 3), b, torch.zeros(3)) for recur in (form, loop))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(states.sum(), a) for states in (found, expected)))


@pytest.mark.parametrize("form", [scan, parallel])
def test_gradients_are_not_differentiated_again(form: Callable[..., Tensor]) -> None:
    b = torch.randn(2, 4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(form(None, b, torch.zeros(3)).square().sum(), b, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("form", [scan, parallel])
def test_states_that_are_changed_before_the_gradient_are_noticed(form: Callable[..., Tensor]) -> None:
    b = torch.randn(2, 4, 3, requires_grad=True)
    states = form(torch.ones(2, 4, 3, requires_grad=True), b, torch.zeros(3), -1.0, 1.0)
    with torch.no_grad():
        states.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        states.sum().backward()


def test_numbers_without_a_compiled_loop_are_scanned_in_parallel() -> None:
    b = torch.randint(-1, 2, (2, 70, 3), generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(
        scan(None, b, torch.zeros(3).bfloat16(), -3.0, 3.0), loop(None, b, torch.zeros(3).bfloat16(), -3.0, 3.0)
    )


@pytest.mark.parametrize("bounds", [(None, 1.0), (1.0, None), (1.0, -1.0)])
@pytest.mark.parametrize("form", [scan, parallel, loop])
def test_half_given_or_crossed_bounds_are_refused(
    form: Callable[..., Tensor], bounds: tuple[float | None, float | None]
) -> None:
    with pytest.raises(ValueError, match="give both with lo <= hi"):
        form(None, torch.zeros(1, 2, 1), torch.zeros(1), *bounds)


# --- Decisions ---------------------------------------------------------------------------------------------------


def test_step_and_sign_at_zero() -> None:
    x = torch.tensor([-1e-30, -0.0, 0.0, 1e-30])
    assert heaviside(x).tolist() == [0, 1, 1, 1]
    assert sign(x).tolist() == [-1, 1, 1, 1]


@pytest.mark.parametrize("slope", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(("function", "height"), [(heaviside, 1), (sign, 2)])
def test_surrogate_gradients(function: Callable[..., Tensor], height: int, slope: float) -> None:
    x = torch.linspace(-3, 3, 41, dtype=torch.double, requires_grad=True)
    (found,) = torch.autograd.grad(function(x, slope).sum(), x)
    torch.testing.assert_close(found, height * slope / (1 + (torch.pi * slope * x.detach()) ** 2))


@given(st.floats(-4, 4), st.floats(-4, 4))
def test_a_window_comparison_is_two_sign_comparisons(c: float, beta: float) -> None:
    up = c - beta > 0 and c + beta > 0
    down = c - beta < 0 and c + beta < 0
    if abs(c) != abs(beta):  # at a tie the software moves, and a comparator may do either
        assert decide(torch.tensor(c, dtype=torch.double), torch.tensor(beta, dtype=torch.double)).item() == up - down


def test_the_gate_opens_at_equality_and_ignores_the_sign_of_the_threshold() -> None:
    assert gate(torch.tensor([0.5, -0.5, 0.4]), torch.tensor([-0.5, 0.5, -0.5])).tolist() == [1, 1, 0]


# --- Networks ----------------------------------------------------------------------------------------------------


def configs() -> Iterator[CellConfig]:
    for cell in CELLS:
        for epsilon in {"bmru": (0.0,), "eps": (0.0, 0.25, 1.0)}.get(cell, (1.0,)):
            mixed = ((1, 2, 4, 31), (3, 31, 1, 2, 8))
            for levels in (None, 1, 3, mixed):
                yield CellConfig(cell=cell, epsilon=epsilon, levels=levels)


def network(config: CellConfig, *, skip: bool = True, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    made = Network(config, features=3, units=(4, 5), classes=2, skip=skip).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
        for layer in made.layers:
            if isinstance(layer, HysteresisLayer):
                layer.low.abs_()
                layer.width.abs_()
    return made


def layers_of(made: Network) -> list[WindowLayer | HysteresisLayer]:
    return [layer for layer in made.layers if isinstance(layer, WindowLayer | HysteresisLayer)]


@pytest.mark.parametrize("config", list(configs()), ids=str)
@pytest.mark.parametrize("time", [1, 13])
def test_a_network_is_the_same_in_every_form(config: CellConfig, time: int) -> None:
    made = network(config)
    x = torch.randn(4, time, 3, dtype=torch.double)
    lengths = torch.tensor([time, 1, time, max(1, time - 3)])
    found = {}
    for mode in ("loop", "scan", "parallel"):
        made.zero_grad()
        output = made(x, lengths, mode=mode)
        output.logits.square().sum().backward()
        found[mode] = output, [known(parameter.grad).clone() for parameter in made.parameters()]
    expected, expected_gradients = found.pop("loop")
    for output, gradients in found.values():
        torch.testing.assert_close(output.logits, expected.logits)
        for name in ("decisions", "states", "outputs", "candidates", "thresholds", "alphas"):
            for one, other in zip(getattr(output, name), getattr(expected, name), strict=True):
                torch.testing.assert_close(one, other)
        for one, other in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("config", list(configs()), ids=str)
def test_every_timestep_follows_the_definition(config: CellConfig) -> None:
    """Compute the recurrence again, in plain numbers, from the recorded pre-activations."""
    made = network(config)
    output = made(torch.randn(2, 20, 3, dtype=torch.double))
    for index, layer in enumerate(layers_of(made)):
        c, beta = output.candidates[index], output.thresholds[index]
        for i in range(c.shape[0]):
            for unit in range(c.shape[2]):
                limit = of_unit(config.levels, index, unit) or torch.inf
                state = layer.initial_state[unit].item()
                for t in range(c.shape[1]):
                    if config.cell == "fq-bmru":
                        low, high = beta[:, unit].tolist()
                        value = c[i, t, unit].item()
                        d = 1 if value >= high else -1 if value < low else 0
                        state = {1: 1.0, -1: 0.0, 0: state}[d]
                    else:
                        value = c[i, t, unit].item()
                        d = (1 if value >= 0 else -1) if abs(value) >= abs(beta[i, t, unit].item()) else 0
                        if config.cell == "acmru":
                            state += d * output.alphas[index][i, t, unit].item()
                        elif d:
                            state = d + config.epsilon * state
                        state = min(max(state, -limit), limit)
                    assert output.decisions[index][i, t, unit].item() == d
                    assert output.states[index][i, t, unit].item() == pytest.approx(state, abs=1e-9)


@pytest.mark.parametrize("config", list(configs()), ids=str)
def test_a_closed_gate_keeps_the_state_exactly(config: CellConfig) -> None:
    made = network(config).float()
    with torch.no_grad():
        for layer in layers_of(made):
            if isinstance(layer, HysteresisLayer):
                layer.low.zero_()
                layer.width.fill_(1e9)
            else:
                layer.threshold.bias.fill_(1e9)
    output = made(torch.randn(2, 1000, 3))
    for layer, states, decisions in zip(layers_of(made), output.states, output.decisions, strict=True):
        assert not decisions.any()
        assert torch.equal(states, layer.initial_state.expand_as(states))


@pytest.mark.parametrize("config", list(configs()), ids=str)
def test_past_its_length_a_sequence_is_held(config: CellConfig) -> None:
    made = network(config)
    x = torch.randn(3, 12, 3, dtype=torch.double)
    output, short = made(x, torch.tensor([5, 12, 1])), made(x[:1, :5])
    for decisions, states, expected in zip(output.decisions, output.states, short.states, strict=True):
        assert not decisions[0, 5:].any()
        torch.testing.assert_close(states[:1, :5], expected)
        # αCMRU sums real numbers, and the scan sums them in another order.
        off = 1e-12 if config.cell == "acmru" else 0.0
        torch.testing.assert_close(states[0, 5:], states[0, 4].expand(7, -1), rtol=0.0, atol=off)


def test_levels_bound_the_state() -> None:
    made = network(CellConfig(cell="cmru", levels=2))
    states = torch.cat([s.flatten() for s in made(torch.randn(8, 200, 3, dtype=torch.double)).states])
    assert states.abs().max() == 2
    assert torch.equal(states, states.round())


def test_the_family_ends_in_bmru_and_cmru() -> None:
    x = torch.randn(2, 30, 3, dtype=torch.double)
    for cell, epsilon in (("bmru", 0.0), ("cmru", 1.0)):
        named = network(CellConfig(cell=cell, epsilon=epsilon))
        family = Network(CellConfig(cell="eps", epsilon=epsilon), features=3, units=(4, 5), classes=2, skip=True)
        family.double().load_state_dict(named.state_dict())
        assert torch.equal(named(x).logits, family(x).logits)


def test_skip_shows_a_layer_what_the_one_before_saw() -> None:
    made = Network(CellConfig(cell="cmru"), features=3, units=(4, 5, 6), classes=2, skip=True)
    assert [layer.candidate.in_features for layer in layers_of(made)] == [3, 4 + 3, 5 + 4 + 3]
    x = torch.randn(2, 7, 3)
    output = made(x)
    seen = torch.cat((output.outputs[0], made.input(x)), dim=-1)
    torch.testing.assert_close(output.candidates[1], layers_of(made)[1].candidate(seen))
    torch.testing.assert_close(output.logits, made.readout(output.outputs[2]))


def test_skip_of_fq_bmru_is_a_residual_where_widths_agree() -> None:
    config = CellConfig(cell="fq-bmru")
    x = torch.randn(2, 7, 3)
    for widths, residual in (((4, 4), True), ((4, 5), False)):
        made = Network(config, features=3, units=(6,), classes=2, skip=True, widths=widths)
        before = made.projection(x)
        [layer] = made.layers
        assert isinstance(layer, HysteresisLayer)
        new = torch.relu(layer.output(made(x).outputs[0]))
        torch.testing.assert_close(made(x).logits, made.readout(before + new if residual else new))


def test_perturb_reaches_every_signal() -> None:
    made = network(CellConfig(cell="cmru")).float()
    seen = []

    def watch(layer: int, signal: str, value: Tensor) -> Tensor:
        seen.append((layer, signal, tuple(value.shape)))
        return value

    made.perturb = watch
    made(torch.randn(2, 7, 3))
    signals = ("candidate", "threshold", "output")
    assert seen == [(layer, signal, (7, 2, 4 + layer)) for layer in (0, 1) for signal in signals]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "gru"}, "cell 'gru' is unknown"),
        ({"epsilon": 0.5}, "it is 1.0 for cell 'cmru'; use cell 'eps'"),
        ({"cell": "eps", "epsilon": 1.5}, "lie between 0 and 1"),
        ({"cell": "eps", "epsilon": float("nan")}, "lie between 0 and 1"),
        ({"levels": 0}, "positive whole number"),
        ({"levels": 2.5}, "positive whole number"),
        ({"levels": True}, "positive whole number"),
    ],
)
def test_meaningless_cells_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CellConfig(**{"cell": "cmru", **changes})


@pytest.mark.parametrize("shape", [{"units": ()}, {"units": (4, 0)}, {"features": 0}, {"classes": 0}])
def test_empty_networks_are_refused(shape: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot be made"):
        Network(CellConfig(cell="cmru"), **{"features": 3, "units": (4,), "classes": 2, **shape})


def test_fq_bmru_needs_one_width_more_than_layers() -> None:
    with pytest.raises(InputError, match="2 layers need 3 widths"):
        Network(CellConfig(cell="fq-bmru"), features=3, units=(4, 4), classes=2, widths=(4, 4))


# --- Classification ----------------------------------------------------------------------------------------------


def test_classify() -> None:
    logits = torch.tensor([[[3.0, 0.0], [0.0, 1.0], [0.0, 1.0], [9.0, 0.0]]])
    three = torch.tensor([3])
    assert classify(logits, three, "mean").item() == 0
    assert classify(logits, three, "majority").item() == 1
    assert classify(logits, three, "last").item() == 1
    assert classify(logits, None, "last").item() == 0
    assert classify(logits[:, 1:3] * 0, None, "mean").item() == 0, "a tie goes to the lower index"
    with pytest.raises(InputError, match="decision 'best' is unknown"):
        classify(logits, None, "best")
