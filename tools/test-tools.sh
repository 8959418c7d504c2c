#!/bin/sh
# Install the programs, besides ngspice, that some tests need (tests/needs.py): Chromium, LaTeX with siunitx, a linker,
# netgen.
set -eu
missing=
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v pdflatex >/dev/null 2>&1 || missing="$missing texlive-latex-recommended"
kpsewhich siunitx.sty >/dev/null 2>&1 || missing="$missing texlive-science"
command -v ld >/dev/null 2>&1 || missing="$missing binutils"
command -v netgen-lvs >/dev/null 2>&1 || missing="$missing netgen-lvs"
[ -n "$missing" ] || exit 0
run=
[ "$(id -u)" -eq 0 ] || run="sudo -n"
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
$run apt-get update -qq || true
# shellcheck disable=SC2086
$run apt-get install -y -qq --no-install-recommends $missing >/dev/null
