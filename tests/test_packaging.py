"""An installed wheel contains all data of a checkout: templates, models, technologies."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import cmru_hw

ROOT = Path(__file__).parent.parent


def test_a_wheel_brings_templates_models_and_technologies(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"cmru_hw-{cmru_hw.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "from cmru_hw.core import package_data\n"
        "from cmru_hw.process import technology\n"
        "assert (package_data.folder('netlists') / 'cells' / 'macro' / 'row.cir').is_file()\n"
        "assert list(package_data.folder('models').glob('*.safetensors'))\n"
        "assert 'installed' in package_data.folder('netlists').parts\n"
        "print(technology.available())\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, 'installed')\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "macro" in done.stdout
