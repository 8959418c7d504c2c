#!/bin/sh
# Make sure that ngspice and its shared library are there; install both with apt where that is allowed.
set -eu
have() { command -v ngspice >/dev/null 2>&1 && ldconfig -p 2>/dev/null | grep -q 'libngspice\.so'; }
PATH="$PATH:/sbin:/usr/sbin"
have && exit 0
run=
[ "$(id -u)" -eq 0 ] || run=sudo
if ! command -v apt-get >/dev/null 2>&1; then
    echo "ngspice is missing and this is not Debian or Ubuntu: install ngspice with its shared library (libngspice), then try again" >&2
    exit 3
fi
if [ -n "$run" ] && ! sudo -n true 2>/dev/null; then
    echo "ngspice is missing and sudo asks for a password: run 'sudo apt-get install ngspice libngspice0', then try again" >&2
    exit 3
fi
echo "installing ngspice"
export DEBIAN_FRONTEND=noninteractive
$run apt-get update -qq || true
$run apt-get install -y -qq ngspice libngspice0 >/dev/null
have || { echo "ngspice was installed but cannot be found" >&2; exit 3; }
