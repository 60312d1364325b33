#!/usr/bin/env bash
# The map of files in ARCHITECTURE.md is whole: each module of common/, producer/ and worker/ (a .c or .h)
# stands there as a word, in the block of its folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
map=ARCHITECTURE.md
bad=0

block() { # folder: from its line of the map to that of the next one
    awk -v folder="    $1/ " 'index($0, folder) == 1 { on = 1; print; next }
        /^    [a-z\/]+\/ / || /^$/ { on = 0 } on' "$map"
}

named() { # module, block; a family may be named by what its names begin with: cmd_*
    local family
    ! grep -qE "(^|[^a-z0-9_])$1([^a-z0-9_*]|\$)" <<<"$2" || return 0
    while read -r family; do
        [[ $1 != "${family%\*}"* ]] || return 0
    done < <(grep -oE '[a-z_]+\*' <<<"$2")
    return 1
}

for folder in common/base common/io common/domain producer worker worker/ctl; do
    text=$(block "$folder")
    for module in $(find "$folder" -maxdepth 1 -name '*.[ch]' -printf '%f\n' | sed 's/\.[ch]$//' | sort -u); do
        named "$module" "$text" && continue
        echo "$folder/$module is not in the map of files of $map"
        bad=1
    done
done
exit $bad
