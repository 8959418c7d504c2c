"""The folder of the user in which measurements are kept between commands."""

from __future__ import annotations

import os
from pathlib import Path


def measured() -> Path:
    """Folder of measured technologies, which are found again by hash: ``$XDG_CACHE_HOME/cmru_hw/measured``.

    Without that variable it is below ``~/.cache``. The folder may not exist yet.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification of XDG says to ignore a relative path.
    base = given if given.is_absolute() else Path.home() / ".cache"
    return base / "cmru_hw" / "measured"
