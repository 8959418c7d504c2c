#!/bin/sh
# Make the virtual environment; Debian keeps the venv module in a package of its own.
set -eu
python=$1 venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    { echo "Python 3.11 or newer is needed: run make PYTHON=/path/to/python3.11" >&2; exit 2; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || {
    run=
    [ "$(id -u)" -eq 0 ] || run="sudo -n"
    $run apt-get update -qq && $run apt-get install -y -qq python3-venv >/dev/null ||
        { echo "the venv module is missing: run 'sudo apt-get install python3-venv', then try again" >&2; exit 2; }
}
"$python" -m venv "$venv"
