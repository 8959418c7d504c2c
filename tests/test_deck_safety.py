"""No file that a deck reads can run a command: libraries, files that they include, and special files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmru_hw import spice
from cmru_hw.circuits.charge import fidelity, mapping
from cmru_hw.cli import group
from cmru_hw.core import package_data
from cmru_hw.core.errors import InputError, TechnologyError
from cmru_hw.core.regular_file import read_regular, read_text
from cmru_hw.design_folder import folder
from cmru_hw.process import device_models, technology
from cmru_hw.spice import deck_safety
from cmru_hw.spice.deck import Deck
from tests.networks import Shape, random_network, random_sequences

STAND_IN = package_data.folder("netlists") / "devices" / "generic180.lib"
CIRCUIT = "v1 a 0 1\nr1 a 0 1000\n.save a\n.tran 1e-4 1e-3\n"

# Ends of a library, and files next to it, that would write the file "evil". S stands for the command.
ATTACKS = {
    "include": (".include inner.cir\n", {"inner.cir": ".control\nS\n.endc\n"}),
    "inc": (".inc 'inner.cir' ; harmless\n", {"inner.cir": ".control\nS\n.endc\n"}),
    "nested": (".include mid.cir\n", {"mid.cir": ".include inner.cir\n", "inner.cir": ".control\nS\n.endc\n"}),
    "section": (".lib inner.cir typical\n", {"inner.cir": ".lib typical\n.control\nS\n.endc\n.endl\n"}),
    "section of a section": (
        ".lib mid.cir typical\n",
        {
            "mid.cir": ".lib typical\n.lib inner.cir x\n.endl\n",
            "inner.cir": ".lib x\n.include last.cir\n.endl\n",
            "last.cir": "*#S\n",
        },
    ),
    "section named like a comment": (
        ".lib inner.cir ;\n",
        {"inner.cir": ".lib ;\n.control\nS\n.endc\n.endl\n"},
    ),
    "comment": (";#S\n", {}),
    "comment of a library": (".include inner.cir\n", {"inner.cir": "$#S\n"}),
    "carriage return": (".include inner.cir\n", {"inner.cir": "*\r#S\n"}),
    "byte order mark": (".include inner.cir\n", {"inner.cir": "\n.control\nS\n.endc\n"}),
}


def attacked(place: Path, attack: str) -> tuple[Path, Path]:
    """A file of devices with ``attack`` in it, and the file that the attack would write."""
    end, files = ATTACKS[attack]
    evil = place / "evil"
    for name, text in files.items():
        (place / name).write_text(text.replace("S", f"shell touch {evil}"), newline="")
    parts = [STAND_IN.read_text(), end.replace("S", f"shell touch {evil}")]
    if "like a comment" in attack:
        # ngspice reads such a section only from the first line.
        parts.reverse()
    (place / "own.lib").write_text("".join(parts), newline="")
    return place / "own.lib", evil


@pytest.mark.spice
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_would_run_and_does_not_get_to(tmp_path: Path, attack: str) -> None:
    own, evil = attacked(tmp_path, attack)
    (tmp_path / "deck.cir").write_text(f"title\n.include {own}\n{CIRCUIT}.end\n")
    subprocess.run(["ngspice", "-n", "-b", "deck.cir"], cwd=tmp_path, capture_output=True, check=False)
    assert evil.exists()
    evil.unlink()
    with pytest.raises(TechnologyError, match=r"must not contain commands|as a command|does not end"):
        device_models.devices(str(own))
    done = CliRunner().invoke(group, ["characterize", str(own), "--dies", "0"])
    assert isinstance(done.exception, TechnologyError) and str(tmp_path) in str(done.exception)
    # The same if a caller gives the library to the simulator without a call of `devices`.
    with spice.open_engine(backend="batch") as engine, pytest.raises(InputError):
        engine.run(Deck(text=f'.include "{own}"\n{CIRCUIT}', stop=1e-3, saved=("a",), libraries=(str(own),)))
    assert not evil.exists()


def transistor_design(place: Path, process: str) -> Path:
    """A transistor-level design whose devices are those of the file ``process``, in a folder."""
    shape = Shape(features=2, units=(1, 1), levels=2, skip=False, seed=3)
    trained, data = random_network(shape), random_sequences(shape)
    toml = (Path(technology.__file__).parent / "technologies" / "generic180.toml").read_text()
    (place / "own.toml").write_text(toml.replace('process = "generic180"', f'process = "{process}"'))
    kind = fidelity.at_level(technology.load(place / "own.toml"), "transistor")
    design = mapping.map_network(trained, kind, mapping.calibrate(trained, data))
    folder.write(place / "design", trained, design, data)
    np.savez(place / "data.npz", inputs=data.inputs[:1], lengths=data.lengths[:1])
    return place / "design"


@pytest.mark.spice
@pytest.mark.parametrize("attack", ["section", "comment"])
def test_a_strangers_design_folder_does_not_run_what_its_library_says(tmp_path: Path, attack: str) -> None:
    (tmp_path / "good.lib").write_text(STAND_IN.read_text())
    made = transistor_design(tmp_path, "good.lib")
    own, evil = attacked(tmp_path, attack)
    manifest = json.loads((made / "design.json").read_text())
    manifest["technology"]["transistor"]["process"] = str(own)
    (made / "design.json").write_text(json.dumps(manifest))
    done = CliRunner().invoke(group, ["compare", str(made), "--input", str(tmp_path / "data.npz")])
    assert isinstance(done.exception, TechnologyError) and "own.lib" in str(done.exception)
    assert not evil.exists()


def test_a_technology_with_such_a_library_is_not_exported(tmp_path: Path) -> None:
    own, _ = attacked(tmp_path, "nested")
    with pytest.raises(TechnologyError, match=r"inner\.cir, line 1: '\.control' is not a card"):
        transistor_design(tmp_path, own.name)
    assert not (tmp_path / "design").exists()


# ---- special files


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.lib")
    (tmp_path / "link.lib").symlink_to("/dev/zero")
    for name in ("fifo.lib", "link.lib", "."):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            read_regular(tmp_path / name)
    with pytest.raises(TechnologyError, match=r"fifo\.lib cannot be read \(not a regular file\)"):
        device_models.devices(str(tmp_path / "fifo.lib"))
    for line in (".include fifo.lib", ".include /dev/zero", ".lib fifo.lib typical"):
        (tmp_path / "own.lib").write_text(STAND_IN.read_text() + line)
        with pytest.raises(TechnologyError, match="not a regular file"):
            device_models.devices(str(tmp_path / "own.lib"))


@pytest.mark.spice
@pytest.mark.parametrize("name", ["network.cir", "design.json"])
def test_a_fifo_in_a_design_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "good.lib").write_text(STAND_IN.read_text())
    made = transistor_design(tmp_path, "good.lib")
    (made / name).unlink()
    os.mkfifo(made / name)
    with pytest.raises(InputError):
        folder.load(made)


def test_text_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert json.loads(read_text(tmp_path / "a.json")) == {"a": 1}


# ---- libraries


def test_all_that_a_library_reaches_is_found_and_hashed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.lib").write_text(".lib typical\n.lib sub/b.lib ff\n.endl\n.lib ff\n.lib a.lib typical\n.endl\n")
    (tmp_path / "sub" / "b.lib").write_text(".lib ff\n.include c.cir\n.endl\n")
    (tmp_path / "sub" / "c.cir").write_text(".param x=1\n")
    found = deck_safety.library_files(str(tmp_path / "a.lib"))
    assert set(found) == {str(tmp_path / name) for name in ("a.lib", "sub/b.lib", "sub/c.cir")}
    assert found[str(tmp_path / "a.lib")].sections == {"typical", "ff"}
    before = deck_safety.library_sha256(str(tmp_path / "a.lib"))
    (tmp_path / "sub" / "c.cir").write_text(".param x=2\n")
    assert deck_safety.library_sha256(str(tmp_path / "a.lib")) != before
    (tmp_path / "sub" / "c.cir").unlink()
    with pytest.raises(InputError, match=r"b\.lib, line 2: 'c\.cir' does not exist"):
        deck_safety.library_files(str(tmp_path / "a.lib"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".include ~/x.lib", "in full"),
        (".include devices/own.lib", "also the name of a file of the deck"),
        ('.model m filesource(file="data.txt")', "must not read the data file 'data.txt'"),
        (".lib a.lib $ the usual\n.endl", "takes the comment for a section"),
        (".lib typical\n.param x=1", "does not end"),
        (".op", "not a card of a circuit"),
    ],
)
def test_libraries_are_checked_line_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.lib").write_text(text)
    with pytest.raises(InputError, match=message):
        deck_safety.library_files(str(tmp_path / "a.lib"), own={"devices/own.lib": b""})


def test_a_deck_has_another_title_when_a_library_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.lib"
    deck = Deck(text=f'.include "{path}"\n{CIRCUIT}', stop=1e-3, saved=("a",), libraries=(str(path),))
    titles = set()
    for text in (".param x=1\n", ".param x=2\n"):
        path.write_text(text)
        titles.add(spice.content_hash(deck))
    assert len(titles) == 2


# ---- files of devices in the spelling of foundries and editors

SPELLINGS: dict[str, Callable[[str], str]] = {
    "name with a space": lambda text: '.include "my models.lib"\n' + text,
    "comment behind the name": lambda text: ".include models.lib $ the foundry's\n" + text,
    "section": lambda text: f"* own\n.lib tt $ typical\n{text}.endl tt\n.lib ff\n.endl\n",
    "section of another name": lambda text: f".param y=1\n.LIB 'typical'\n{text}  .ENDL ; typical\n",
    "byte order mark": lambda text: "\ufeff" + text,
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "upper case": lambda text: text.upper(),
    "continued": lambda text: text.replace(" d g s b w=0.3u", "\n* pins\n\n+ d g\n+ s b w = 0.3u"),
    "old declaration": lambda text: text.replace(" d g s b w=0.3u", " (d g s b) params: w={0.3u}"),
    "comments in Latin-1": lambda text: "* Größe in µm\n" + text,
}


@pytest.mark.spice
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_file_of_devices_may_be_spelled_like_this(tmp_path: Path, spelling: str) -> None:
    for name in ("models.lib", "my models.lib"):
        (tmp_path / name).write_text(".param nothing=0\n")
    encoding = "latin-1" if "Latin" in spelling else "utf-8"
    (tmp_path / "own.lib").write_text(SPELLINGS[spelling](STAND_IN.read_text()), encoding=encoding, newline="")
    currents = []
    with spice.open_engine() as engine:
        for process in ("generic180", str(tmp_path / "own.lib")):
            models = device_models.devices(process)
            text = models.text + "vd d 0 1.8\nvg g 0 1.2\nx1 d g 0 0 nf w=1u l=0.5u\n.save i(vd)\n.tran 1e-9 1e-8\n"
            deck = Deck(text=text, stop=1e-8, saved=("i(vd)",), files=models.files, libraries=models.libraries)
            currents.append(engine.run(deck).traces.values["i(vd)"][-1])
    assert currents[0] == currents[1] < -1e-6


def test_sections_follow_the_corner(tmp_path: Path) -> None:
    text = STAND_IN.read_text().replace("skew_n=0 skew_p=0", "").replace("+skew_n", "").replace("-skew_p", "")
    (tmp_path / "own.lib").write_text(f".lib tt\n{text}.endl\n.lib ff\n* fast\n{text}.endl\n")
    files = {
        corner: device_models.devices(str(tmp_path / "own.lib"), corner=corner).files for corner in ("typical", "ff")
    }
    assert files["typical"] != files["ff"]
    assert b"* fast" in files["ff"]["devices/own.lib"] and b"* fast" not in files["typical"]["devices/own.lib"]
    with pytest.raises(TechnologyError, match="has the sections ff, tt and none for corner 'ss': call it ss"):
        device_models.devices(str(tmp_path / "own.lib"), corner="ss")
