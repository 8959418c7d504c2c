#!/usr/bin/env bash
# Everything that a release has to pass, CI's part included: tools/release-check.sh DIR
#
# It takes about three hours on two cores. CI stays under one, so the default suite with the lowest versions and the one
# on Debian 13 (in DIR, see tools/debian13.sh; needs root) are here alone. The result of each part goes to
# benchmarks/results/release-check.txt, to be committed.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 1 ] || { echo "usage: tools/release-check.sh DIR" >&2; exit 2; }
[ -z "$(git status --porcelain)" ] || { echo "commit first: the result names a commit" >&2; exit 2; }
results=benchmarks/results/release-check.txt
logs=$(mktemp -d)
failed=0

part() { # NAME COMMAND...
    local name=$1 start=$SECONDS status=0
    shift
    echo "$name: $*, log in $logs/$name.log"
    "$@" >"$logs/$name.log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || failed=1
    {
        echo "$name: exit status $status, $(((SECONDS - start) / 60)) minutes"
        grep -E '^(FAILED|ERROR) |^=+ .*(passed|failed|error)|^All checks passed|^Success' "$logs/$name.log" | sed 's/^/    /'
    } >>"$logs/results"
}

{
    echo "commit $(git rev-parse HEAD), $(date -u +%Y-%m-%d)"
    echo "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), $(nproc) cores"
} >"$logs/results"
tools/test-tools.sh
part check make check
part test make test TOOLS=required
part slow make test-slow TOOLS=required
part lowest make test-lowest TOOLS=required
part debian13 tools/debian13.sh "$1" test
mv "$logs/results" "$results"
cat "$results"
exit "$failed"
