#!/usr/bin/env bash
# What a release has to pass besides CI, and CI's parts: tools/release-check.sh DIR [PART]...
#
# The parts are check, test, slow, lowest and debian13; without a PART, all of them run, in about an hour and a half on two
# cores. CI stays under one, so the default suite with the lowest versions and the one on Debian 13 (in DIR, see
# tools/debian13.sh; needs root) are here alone. The result of each part goes to benchmarks/results/release/PART.txt, to be
# committed: it names the commit that was tested.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: tools/release-check.sh DIR [PART]..." >&2; exit 2; }
folder=benchmarks/results/release
[ -z "$(git status --porcelain -- . ":!$folder")" ] || { echo "commit first: the result names a commit" >&2; exit 2; }
directory=$1
shift
[ $# -gt 0 ] || set -- check test slow lowest debian13
logs=$(mktemp -d)
mkdir -p "$folder"
failed=0

part() { # NAME COMMAND...
    local name=$1 start=$SECONDS status=0
    shift
    echo "$name: $*, log in $logs/$name.log"
    "$@" >"$logs/$name.log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || failed=1
    {
        echo "$*: exit status $status, $(((SECONDS - start) / 60)) minutes"
        grep -E '^(FAILED|ERROR) |^=* ?[0-9].* (passed|failed|errors?)\b|^All checks passed|^Success' "$logs/$name.log" | sed 's/^/    /'
        echo "commit $(git rev-parse HEAD), $(date -u +%Y-%m-%d)"
        echo "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' "$root/etc/os-release"), $(nproc) cores"
    } >"$folder/$name.txt"
    cat "$folder/$name.txt"
}

tools/test-tools.sh
for name; do
    root=
    case $name in
    check) part check make check ;;
    test) part test make test TOOLS=required ;;
    slow) part slow make test-slow TOOLS=required ;;
    lowest) part lowest make test-lowest TOOLS=required ;;
    debian13) root=$directory && part debian13 tools/debian13.sh "$directory" test ;;
    *) echo "no part is called $name: check, test, slow, lowest or debian13" >&2; exit 2 ;;
    esac
done
exit "$failed"
