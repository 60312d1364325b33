#!/usr/bin/env bash
# Runs each schedule with the sound worker, which must keep every promise, and with the one whose
# guarantee is switched off, which must be found out.
#     tests/chaos/mutants.sh NAME...       each a schedule and a worker in $HOOKLINE_BUILD/chaos-NAME
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${HOOKLINE_BUILD:-build}
driver=$build/tests/chaos/chaos
bad=0

run() { # worker, schedule; sets code and output, forgets the data of a run that was to fail
    code=0
    output=$(CHAOS_WORKER=$1 timeout -k 5 120 "$driver" --schedule "$2" 2>&1) || code=$?
    local kept
    kept=$(sed -n 's/^Logs and data are in //p' <<<"$output")
    [ -z "$kept" ] || rm -rf "$kept"
}

for name; do
    started=$SECONDS
    run "$build/chaos/hookline-worker" "$name"
    if [ "$code" -ne 0 ]; then
        printf 'FAIL  %s: the sound worker ends with %d\n%s\n' "$name" "$code" "$output"
        bad=1
        continue
    fi
    # What a guarantee would have kept may by chance be kept by the one before it, as by a worker that
    # looks at its lease before it reads the answer that lay there.
    for _ in 1 2 3; do
        run "$build/chaos-$name/hookline-worker" "$name"
        [ "$code" -eq 0 ] || break
    done
    if [ "$code" -ne 1 ] || grep -q 'did not come about' <<<"$output"; then
        printf 'FAIL  %s: switched off, and the run ends with %d\n%s\n' "$name" "$code" "$output"
        bad=1
    else
        printf 'ok    %-14s noticed, %d s: %s\n' "$name" $((SECONDS - started)) \
            "$(grep -m1 VIOLATION <<<"$output")"
    fi
done
exit $bad
