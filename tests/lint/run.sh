#!/usr/bin/env bash
# Every check that reads the code without running it. Arguments: the compiler's flags.
# Runs them all, tells what each found, and fails when one did.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
BUILD=${BUILD:-build}
export BUILD
flags=("$@")
failed=()

check() { # name, command...
    local name=$1 started=$SECONDS output rc=0
    shift
    output=$("$@" 2>&1 </dev/null) || rc=$?
    if [ "$rc" -eq 0 ] && [[ $output == skipped:* ]]; then
        printf 'skip  %s\n%s\n' "$name" "$output"
    elif [ "$rc" -eq 0 ]; then
        printf 'ok    %-10s %3d s\n' "$name" $((SECONDS - started))
    else
        printf 'FAIL  %s\n%s\n' "$name" "$output"
        failed+=("$name")
    fi
}

sources() { # extended regular expression on the end of the name; NUL after each
    local folder folders=()
    for folder in common producer worker sql deploy tests .ci; do
        [ ! -d "$folder" ] || folders+=("$folder")
    done
    find "${folders[@]}" -type f -regextype posix-extended -regex ".*($1)" -print0 | sort -z
}

format() {
    sources '\.[ch]' | xargs -0 clang-format --dry-run --Werror
}

tidy() {
    sources '\.c' |
        xargs -0 -P "${JOBS:-2}" -I{} clang-tidy --quiet {} -- "${flags[@]}" 2>/dev/null
}

scripts() { # everything that starts with a shell's #! line
    sources '' | xargs -0 grep -lZE -m1 '^#!.*\b(ba|da)?sh\b' | xargs -0 shellcheck -x
}

check layers tests/lint/layers.sh
check settings tests/lint/settings.sh
check compose tests/lint/compose.sh
check size tests/lint/size.sh
check faults tests/lint/faults.sh
check map tests/lint/map.sh
check log tests/lint/log.sh
check manifests tests/manifests/run.sh --or-skip
check units tests/lint/units.sh
check runbook tests/lint/runbook.sh
check scripts scripts
check format format
check tidy tidy

if [ ${#failed[@]} -gt 0 ]; then
    echo "lint: ${failed[*]} failed"
    exit 1
fi
echo "lint: all good"
