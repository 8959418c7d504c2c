"""A handover: the same circuit as the package simulates, with named ports, in a form that other tools read."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cmru_hw import spice
from cmru_hw.circuits.charge import fidelity, mapping, simulate
from cmru_hw.circuits.charge.design import Design
from cmru_hw.circuits.handover import TOP
from cmru_hw.core.errors import InputError
from cmru_hw.core.signals import Traces
from cmru_hw.design_folder import folder, handover
from cmru_hw.nn.sequences import Sequences, save_sequences
from cmru_hw.process import device_count, technology
from cmru_hw.spice import lexer
from cmru_hw.spice.elaborate import elaborate, with_substrate
from tests.narrow import charge_design, known
from tests.networks import Shape, random_network, random_sequences
from tests.test_cli import SMALL, refused, run

# Its third sequence makes the unit go down, hold and go up in three timesteps.
SHAPE = Shape(features=1, units=(1,), levels=2, skip=False, seed=33)
MOVES = [-1, 0, 1]


def exported(path: Path, memory: str = "power-gated", process: str = "gf180", shape: Shape = SHAPE) -> folder.Exported:
    trained, data = random_network(shape), random_sequences(shape)
    kind = fidelity.at_level(technology.load(process), "transistor", memory)
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    return folder.write(path, trained, design, data)


def third() -> Sequences:
    return Sequences(inputs=random_sequences(SHAPE).inputs[2:, : len(MOVES)])


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Design, Path]:
    """The design of a chip with one unit, and its handover."""
    base = tmp_path_factory.mktemp("chip")
    design = exported(base / "design")
    handover.write(base / "handed", design, third())
    return charge_design(design.design), base / "handed"


def subcircuits(path: Path) -> dict[str, lexer.Subcircuit]:
    return lexer.subcircuits(lexer.logical_lines(path.read_text()))


# ---- the simulation


@pytest.mark.spice
@pytest.mark.needs("gf180")
def test_the_deck_runs_as_it_is_and_decides_as_the_package_does(chip: tuple[Design, Path]) -> None:
    design, handed = chip
    # a state, after the packet of the last timestep
    late = design.timestep * 4.5 + 0.9 * known(design.technology.power_gated).strobe
    deck = (handed / "deck.cir").read_text()
    (handed / "more.cir").write_text(deck.replace(".end\n", f".meas tran late find v(xchip.o0_0) at={late!r}\n.end\n"))
    log = subprocess.run(
        ["ngspice", "-b", "more.cir"], cwd=handed, capture_output=True, text=True, timeout=900, check=True
    ).stdout
    (handed / "more.cir").unlink()
    measured = {name: float(value) for name, value in re.findall(r"^(q\S+|late) += +(-?\d\S*)", log, re.MULTILINE)}

    traces: list[Traces] = []
    with spice.open_engine(backend="batch") as engine:
        own = simulate.simulate(design, third(), engine, observe=lambda found, *_: traces.append(found))
    assert own.response.decisions[0][0, :, 0].tolist() == MOVES
    found = [(measured[f"qa0_0_t{t}"] > 0.9) + (measured[f"qb0_0_t{t}"] > 0.9) - 1 for t in range(3)]
    assert found == MOVES
    rows = list(csv.DictReader((handed / "expected.csv").open()))
    assert {row["measure"] for row in rows} == measured.keys() - {"late"}
    for row in rows:
        assert measured[row["measure"]] == pytest.approx(1.8 * int(row["value"]), abs=0.05)
    # The same circuit: the state agrees to a hundredth of a level.
    state = float(traces[0].at("o0_0", np.array([late]))[0])
    assert measured["late"] == pytest.approx(state, abs=float(design.layers[0].step[0]) / 100)


# ---- netlist and CDL


def test_the_top_cell_has_named_ports_and_neither_sources_nor_node_0(chip: tuple[Design, Path]) -> None:
    design, handed = chip
    found = subcircuits(handed / "top.cir")
    assert list(found)[-1] == TOP
    ports = set(found[TOP].pins)
    assert {"vdd_logic", "vdd_wake", "vss", "vsub", "x0", "zero", "strobe", "qa0_0", "qb0_0", "qy1"} <= ports
    assert not list(lexer.outside_subcircuits(lexer.logical_lines((handed / "top.cir").read_text())))[len(found) :]
    for cell in found.values():
        assert not cell.parameters
        for line in cell.lines:
            assert line.card[0] in "xc" and "0" not in lexer.statement(line).words[1:], (cell.name, line.text)
            assert "{" not in line.text
    readme = (handed / "README.md").read_text()
    for port in found[TOP].pins:
        assert re.search(rf"^\| `{port}` \| (supply|ground|input|output) \| .+ \|$", readme, re.MULTILINE), port
    assert len(set(found[TOP].pins)) == len(found[TOP].pins)
    assert design.technology.name in readme


def test_no_file_names_a_path_of_this_machine_and_the_hashes_are_right(chip: tuple[Design, Path]) -> None:
    _, handed = chip
    for file in handed.rglob("*"):
        if file.is_file() and file.parent.name != "models":
            assert not re.search(r"(?<![\w.])/(tmp|home|usr|root|work)\b", file.read_text()), file
    manifest = json.loads((handed / "handover.json").read_text())
    names = {file.relative_to(handed).as_posix() for file in handed.rglob("*") if file.is_file()}
    assert set(manifest["files"]) == names - {"handover.json"}
    assert "Apache License" in (handed / "models" / "sm141064.ngspice").read_text()[:400]


def flat(network: str, cells: dict[str, bytes], process: str, renamed: dict[str, str]) -> Counter[tuple[object, ...]]:
    """Every device with its nodes in ``renamed`` names, without a pin for the substrate, and its sizes."""
    found: Counter[tuple[object, ...]] = Counter()
    for device in device_count.devices(network, cells, process=process):
        nodes = [renamed.get(node, node) for node in device.nodes[: 4 if device.kind in ("nf", "pf") else 2]]
        found[
            device.kind, *nodes, *(f"{name} {device.values[name]:.9g}" for name in sorted({*device.values} - {"k"}))
        ] += 1
    return found


@pytest.mark.parametrize("memory", ["power-gated", "integrator", "counter"])
def test_every_device_is_where_it_is_in_the_netlist_of_the_design(memory: str, tmp_path: Path) -> None:
    shape = Shape(features=2, units=(2, 1), levels=2, skip=True, seed=3)
    process = "gf180" if memory == "power-gated" else "generic180"
    design, data = exported(tmp_path / "design", memory, process, shape), random_sequences(shape).first(1)
    found = handover.write(tmp_path / "handed", design, data)
    ports = design.architecture.handover(design.design, design.trained, data, network=design.network).ports
    cells, _, body = (tmp_path / "handed" / "top.cir").read_text().partition(f".subckt {TOP} ")
    pins = len(re.findall(r"^\+ .*$|^.*$", body.partition("\nx")[0], re.MULTILINE))
    network = "\n".join(body.partition(f".ends {TOP}")[0].split("\n")[pins:])
    back = {port.name: port.node for port in ports} | {"vss": "0", "vsub": "0"}
    handed = flat(network, {"top": cells.encode()}, str(tmp_path / "handed" / "devices" / f"{process}.lib"), back)
    own = flat(design.network, fidelity.cell_files(charge_design(design.design)), process, {})
    assert handed == own
    kinds = Counter(device[0] for device in own.elements())
    assert (found.transistors, found.capacitors) == (kinds["nf"] + kinds["pf"], kinds["cmim"] + kinds["cmom"])


def lvs(folder: Path, cdl: Path) -> str:
    """What netgen says of the handover's CDL and ``cdl``."""
    done = subprocess.run(
        ["netgen-lvs", "-batch", "lvs", f"{folder / 'top.cdl'} {TOP}", f"{cdl} {TOP}", "nosetup", "lvs.txt"],
        cwd=cdl.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout + (cdl.parent / "lvs.txt").read_text()


def changed(text: str, pattern: str, replacement: str) -> str:
    found, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
    assert count == 1 and found != text
    return found


@pytest.mark.needs("netgen")
def test_netgen_matches_the_cdl_with_itself_and_with_nothing_else(chip: tuple[Design, Path], tmp_path: Path) -> None:
    _, handed = chip
    text = (handed / "top.cdl").read_text()
    other = tmp_path / "other.cdl"
    other.write_text(text)
    said = lvs(handed, other)
    assert "Circuits match uniquely." in said.splitlines()[-3:] or "Result: Circuits match uniquely." in said
    assert "property errors" not in said.lower() and "do not match" not in said
    # strobe and sleep of one gate change places
    other.write_text(changed(text, r"^Xwake strobe sleep ", "Xwake sleep strobe "))
    assert "Netlists do not match." in lvs(handed, other)
    # drain and gate
    other.write_text(changed(text, r"^Mn sleep strobe ", "Mn strobe sleep "))
    assert "Netlists do not match." in lvs(handed, other)
    for pattern, replacement in ((r"W=3e-07", "W=3.3e-07"), (r"L=2e-05", "L=1.9e-05")):
        other.write_text(changed(text, pattern, replacement))
        assert "property errors: wake" in lvs(handed, other)
    other.write_text(changed(text, r"^(Cca0_0_0 \S+ \S+) \S+", r"\1 9e-14"))
    assert "Property errors were found." in lvs(handed, other)


def test_cdl_has_the_processes_own_device_names(chip: tuple[Design, Path]) -> None:
    _, handed = chip
    text = (handed / "top.cdl").read_text()
    assert re.search(r"^Mn sleep strobe vss vsub nfet_03v3 W=3e-07 L=2e-05$", text, re.MULTILINE)
    assert re.search(r"^C\S+ \S+ \S+ \S+ \$\[cap_mim_1f0fF\] W=\S+ L=\S+$", text, re.MULTILINE)
    assert "cwire" not in text
    cells = re.findall(r"^\.SUBCKT (\S+) ", text, re.MULTILINE)
    assert text.count(".ENDS") == len(cells) == len(set(cells))
    assert re.search(r"^\*\.PININFO strobe:I sleep:B vdd:P vss:G vsub:G$", text, re.MULTILINE)


# ---- elaboration

DEVICES = """.subckt nf d g s b w=1u l=2u
m0 d g s b n w={w} l={l}
.ends nf
.subckt cmom t b c=1f
c0 t b {c}
ct t 0 {c/10}
.ends cmom
"""


def test_one_template_becomes_a_cell_for_each_set_of_sizes() -> None:
    cells = {"a": "* a pair\n.subckt pair a y w=1u\nx1 y a 0 0 nf w={2*w}\nx2 y a 0 0 nf w={w}\n.ends pair\n"}
    devices = lexer.subcircuits(lexer.logical_lines(DEVICES))
    found = elaborate("xa i o pair\nxb i p pair w=3u\nxc i q pair w=1u\nxd q 0 cmom c=5f\n", cells, devices, "top")
    assert [cell.name for cell in found.cells] == ["pair", "pair_2", "top"]
    assert [element.of for element in found.top.elements] == ["pair", "pair_2", "pair", "cmom"]
    assert found.cells[0].pins == ("a", "y", "vss", "vsub") and found.cells[0].comment == ("* a pair",)
    first = found.cells[1].elements[0]
    assert first.nodes == ("y", "a", "vss", "vsub") and first.values["w"] == pytest.approx(6e-6)
    assert found.top.elements[-1].nodes == ("q", "vss", "vsub")


def test_the_substrate_replaces_node_0_only_where_there_is_one() -> None:
    text, chosen = with_substrate(DEVICES, ["nf", "cmom"])
    assert chosen == {"cmom"}
    assert ".subckt cmom t b vsub c=1f" in text and "ct t vsub {c/10}" in text
    assert ".subckt nf d g s b w=1u l=2u" in text


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("r1 a 0 1k\n", "subcircuits and capacitors only"),
        ("xa vss o pair\n", "called vss"),
        ("xa i o pair q=1\n", "no parameter q"),
        ("xa i pair\n", "no pair with 1 pins"),
        ("v1 a 0 pulse(0 1 0 1 1 1 1)\n", "constant voltage only"),
    ],
)
def test_what_has_no_place_in_a_handover_is_refused_by_name(network: str, says: str) -> None:
    cells = {"a": ".subckt pair a y w=1u\nx1 y a 0 0 nf w={w}\n.ends pair\n"}
    with pytest.raises(InputError, match=says):
        elaborate(network, cells, lexer.subcircuits(lexer.logical_lines(DEVICES)), "top")


# ---- the command


def test_the_command_writes_the_first_timesteps_and_refuses_to_overwrite(tmp_path: Path) -> None:
    exported(tmp_path / "design")
    save_sequences(third(), tmp_path / "in.npz")
    common = (tmp_path / "design", "-o", tmp_path / "handed")
    done = run("handover", *common, "--input", tmp_path / "in.npz", "--timesteps", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["decisions in the test deck"] == 4 and found["missing_models"] == []
    rows = list(csv.DictReader((tmp_path / "handed" / "expected.csv").open()))
    assert [int(row["value"]) for row in rows] == [0, 0, 0, 1]
    assert "give --force to replace it" in refused("handover", *common)
    assert run("handover", *common, "--force").returncode == 0
    (tmp_path / "mine").mkdir()
    assert "is no handover" in refused("handover", tmp_path / "design", "-o", tmp_path / "mine", "--force")


def test_a_design_without_transistors_and_one_in_current_mode_name_the_remedy(tmp_path: Path) -> None:
    trained, data = random_network(SHAPE), random_sequences(SHAPE)
    design = mapping.map_network(trained, technology.load("gf180"), mapping.calibrate(trained, data))
    folder.write(tmp_path / "macro", trained, design, data)
    assert "export it with --level transistor" in refused("handover", tmp_path / "macro", "-o", tmp_path / "h")
    assert not (tmp_path / "h").exists()
    model = SMALL.with_name("detect-fq-bmru-2x4.safetensors")
    assert run("export", model, "--architecture", "cm", "--no-verify", "-o", tmp_path / "cm").returncode == 0
    assert "charge domain" in refused("handover", tmp_path / "cm", "-o", tmp_path / "h")


def test_model_files_of_an_unknown_licence_are_named_and_not_copied(tmp_path: Path) -> None:
    devices = (Path(__file__).parent.parent / "netlists" / "devices" / "generic180.lib").read_text()
    models, _, wrappers = devices.partition("* Mismatch of one device")
    (tmp_path / "secret.mod").write_text(models)
    (tmp_path / "own.lib").write_text(f".include secret.mod\n* {wrappers}")
    exported(tmp_path / "first", "integrator", "generic180")
    text = (Path(folder.__file__).parent.parent / "process" / "technologies" / "generic180.toml").read_text()
    (tmp_path / "own.toml").write_text(text.replace('process = "generic180"', f'process = "{tmp_path / "own.lib"}"'))
    design = exported(tmp_path / "design", "integrator", str(tmp_path / "own.toml"))
    found = handover.write(tmp_path / "handed", design, third())
    assert found.add == ("models/secret.mod",)
    assert not (tmp_path / "handed" / "models").exists()
    assert "../models/secret.mod" in (tmp_path / "handed" / "devices" / "own.lib").read_text()
    assert "Put it there" in (tmp_path / "handed" / "README.md").read_text()
