#!/usr/bin/env bash
# Each program, stripped, stays under one MiB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly limit=$((1024 * 1024))

copy=$(mktemp "${TMPDIR:-/tmp}/hookline-size-XXXXXX")
trap 'rm -f "$copy"' EXIT
bad=0
for program in hookline-producer hookline-worker hooklinectl; do
    strip -o "$copy" "${BUILD:-build}/$program" || {
        bad=1
        continue
    }
    size=$(stat -c %s "$copy")
    if [ "$size" -ge "$limit" ]; then
        echo "$program has $size bytes when stripped; the limit is $limit"
        bad=1
    fi
done
exit $bad
