#!/usr/bin/env bash
# Every test that tests/FAULTS.md names exists, and no fault is without one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
table=tests/FAULTS.md
tick=$'\x60'
bad=0
mapfile -t named < <(grep -oE "${tick}[a-z0-9_]+, [a-z0-9_]+${tick}" "$table" | tr -d "$tick" | sort -u)
for test in "${named[@]}"; do
    if ! grep -rqF "Test($test" tests/unit tests/integration; then
        echo "$table names a test that is not there: $test"
        bad=1
    fi
done
if grep -nE '^\| [0-9]+ \|.*\| \|$' "$table"; then
    echo "$table: these faults have no test"
    bad=1
fi
exit $bad
