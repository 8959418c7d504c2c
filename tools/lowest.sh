#!/bin/sh
# Make a virtual environment with the lowest version of each direct dependency that pyproject.toml allows:
# tools/lowest.sh PYTHON VENV
set -eu
python=$1 venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
    { echo "the lowest versions need the lowest Python: run make test-lowest PYTHON=/path/to/python3.11" >&2; exit 2; }
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$venv/bin/uv" pip compile --quiet --resolution lowest-direct --python-version 3.11 --extra dev pyproject.toml \
    --output-file "$venv/lowest.txt"
PIP_CONSTRAINT=$venv/lowest.txt TORCH=$(grep '^torch==' "$venv/lowest.txt") tools/venv.sh "$python" "$venv"
