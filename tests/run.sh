#!/usr/bin/env bash
# Runs the test programs, several at a time, against one private PostgreSQL cluster.
#     tests/run.sh unit|all [NAME]
# NAME picks the programs with that in their name or, when there is none, the tests. Use `make test T=NAME`.
# BUILD: folder of the built programs. SANITIZED=1: collects sanitizer reports too; one fails the run.
# HOOKLINE_TEST_KEEP=1 keeps the folder of logs and data. Ends with "N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly program_timeout=300 # seconds for one test program
# Begun first, so that none of them is left running alone at the end.
readonly long_ones=(store_plans chaos ctl_transfer ctl_drain_storm worker_outage ctl_drain redis_away
    storm worker)
readonly is_disabled='^\[SKIP\].*: Test is disabled$'
BUILD=${BUILD:-build}

# --- one test program: tests/run.sh --one PROGRAM ----------------------------------------------------
number() { # of a word in Criterion's closing line
    sed -n "s/^\[====\] Synthesis:.*$1: \([0-9]*\).*/\1/p" "$2" | tail -n 1
}

run_one() { # program; leaves NAME.log and NAME.count in $HOOKLINE_TEST_TMP/results
    local name=${1#"$BUILD/tests/"} rc=0 started=$SECONDS note=
    local base=$HOOKLINE_TEST_TMP/results/${name//\//.}
    timeout -k 10 "$program_timeout" "$1" --verbose ${FILTER:+--filter "$FILTER"} \
        >"$base.log" 2>&1 </dev/null || rc=$?
    local tested passed failed skipped disabled
    tested=$(number Tested "$base.log")
    passed=$(number Passing "$base.log")
    failed=$(number Failing "$base.log")
    disabled=$(grep -c "$is_disabled" "$base.log" || true)
    skipped=$(($(grep -c '^\[SKIP\]' "$base.log" || true) - disabled))
    [ -z "$FILTER" ] || disabled=0 # Criterion says so of those that the filter leaves out
    if [ -z "$tested" ]; then
        passed=0 failed=1 note="did not finish (exit $rc)"
    elif [ "$disabled" -gt 0 ]; then
        failed=$((failed + disabled)) note="has disabled tests"
    elif [ "$tested" -eq 0 ] && [ "$skipped" -eq 0 ] && [ -z "$FILTER" ]; then
        failed=1 note="ran no test"
    elif [ "$rc" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1 note="exit $rc"
    fi
    echo "$passed $failed $skipped" >"$base.count"
    if [ "$failed" -gt 0 ]; then
        {
            echo "FAIL  $name: $failed failed${note:+, $note}"
            grep -v -e '^\[RUN \]' -e '^\[PASS\]' -e "$is_disabled" "$base.log" | tail -n 200 | sed 's/^/      /'
        } >"$base.report"
        cat "$base.report"
    elif [ "$tested" -gt 0 ] || [ "$skipped" -gt 0 ]; then
        printf 'ok    %-40s %3d tests %4d s\n' "$name" "$passed" $((SECONDS - started))
    fi
    grep -v "$is_disabled" "$base.log" | sed -n 's/^\[SKIP\]/skip /p'
}

if [ "${1-}" = --one ]; then
    run_one "$2"
    exit 0
fi

# --- the suite's PostgreSQL ----------------------------------------------------------------------------
# shellcheck source=tests/support/postgres.sh
. tests/support/postgres.sh
readonly pg_settings=(fsync=off full_page_writes=off shared_buffers=32MB max_connections=200
    autovacuum=off jit=off max_wal_size=4GB)

# A private cluster with the migrated template, kept once more as a stopped copy for the tests that
# kill a cluster of their own. Over TCP, as those are: a test sees no difference between them.
start_postgres() {
    local folder=$HOOKLINE_TEST_TMP/pg
    pg_init "$folder" --no-sync
    pg_launch "$folder" "${pg_settings[@]}"
    psql -q "$pg_server/postgres" -c "CREATE DATABASE hookline_template"
    WEBHOOK_DATABASE_URL="$pg_server/hookline_template" "$BUILD/hooklinectl" migrate \
        >"$folder/migrate.log" 2>&1 || {
        cat "$folder/migrate.log"
        return 1
    }
    pg_stop INT
    cp -a "$folder/data" "$folder/ready"
    pg_launch "$folder" "${pg_settings[@]}"
    export HOOKLINE_TEST_PG=$pg_server/postgres
    export HOOKLINE_TEST_TEMPLATE=hookline_template HOOKLINE_TEST_PGDATA=$folder/ready
}

clean_up() {
    local rc=$?
    trap - EXIT
    pg_stop QUIT
    if [ -n "${HOOKLINE_TEST_KEEP-}" ]; then
        echo "Logs and data are in $HOOKLINE_TEST_TMP" >&2
    else
        rm -rf "$HOOKLINE_TEST_TMP"
    fi
    exit "$rc"
}

# --- what to run ------------------------------------------------------------------------------------------
programs() { # folder under tests/; those whose source is there, so that leftovers are not run
    local source
    for source in tests/"$1"/test_*.c; do
        [ ! -e "$source" ] || echo "$BUILD/${source%.c}"
    done
}

choose() { # NAME or "": sets unit, integration and FILTER
    local name=$1 all_unit all_integration=()
    mapfile -t all_unit < <(programs unit)
    [ "$what" = unit ] || mapfile -t all_integration < <(programs integration)
    mapfile -t unit < <(named "$name" "${all_unit[@]}")
    mapfile -t integration < <(named "$name" "${all_integration[@]}")
    FILTER=
    if [ ${#unit[@]} -eq 0 ] && [ ${#integration[@]} -eq 0 ]; then
        unit=("${all_unit[@]}") integration=("${all_integration[@]}")
        FILTER="*/*$name*"
    fi
}

named() { # NAME, programs...: those with NAME in the last part of their path
    local name=$1 program
    shift
    for program; do
        case ${program##*/} in *"$name"*) echo "$program" ;; esac
    done
}

long_ones_first() { # programs...
    local name program
    for name in "${long_ones[@]}"; do
        for program; do
            [ "${program##*/test_}" != "$name" ] || echo "$program"
        done
    done
    for program; do
        case " ${long_ones[*]} " in *" ${program##*/test_} "*) ;; *) echo "$program" ;; esac
    done
}

run_all() { # at most so many at a time, programs...
    local at_once=$1
    shift
    [ $# -eq 0 ] || printf '%s\0' "$@" | xargs -0 -n 1 -P "$at_once" tests/run.sh --one
}

what=${1:-all}
case $what in
unit | all) ;;
*)
    echo "usage: tests/run.sh unit|all [NAME]" >&2
    exit 2
    ;;
esac

HOOKLINE_TEST_TMP=$(mktemp -d "${TMPDIR:-/tmp}/hookline-suite-XXXXXX")
export HOOKLINE_TEST_TMP BUILD HOOKLINE_BUILD=$BUILD
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 711 "$HOOKLINE_TEST_TMP"
mkdir -m 1777 "$HOOKLINE_TEST_TMP/results" "$HOOKLINE_TEST_TMP/sanitizer"

if [ -n "${SANITIZED-}" ]; then
    common="log_path=$HOOKLINE_TEST_TMP/sanitizer/report"
    export ASAN_OPTIONS="$common:detect_leaks=1:detect_stack_use_after_return=1"
    export UBSAN_OPTIONS="$common:print_stacktrace=1"
    export LSAN_OPTIONS="suppressions=tests/support/lsan.supp:print_suppressions=0"
fi

choose "${2-}"
export FILTER
cores=$(nproc)
run_all "$cores" "${unit[@]}"
if [ ${#integration[@]} -gt 0 ]; then
    start_postgres
    mapfile -t integration < <(long_ones_first "${integration[@]}")
    run_all "$cores" "${integration[@]}"
fi

# --- the outcome -----------------------------------------------------------------------------------------
passed=0 failed=0 skipped=0
for count in "$HOOKLINE_TEST_TMP"/results/*.count; do
    [ -e "$count" ] || continue
    read -r p f s <"$count"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
for report in "$HOOKLINE_TEST_TMP"/sanitizer/report*; do
    [ -e "$report" ] || continue
    failed=$((failed + 1))
    echo "FAIL  a sanitizer reports:"
    head -n 60 "$report" | sed 's/^/      /'
done
if [ $((passed + failed + skipped)) -eq 0 ]; then
    echo "No test is named like \"${2-}\"."
    failed=1
fi
expected=$((${#unit[@]} + ${#integration[@]}))
finished=$(find "$HOOKLINE_TEST_TMP/results" -name '*.count' | wc -l)
if [ "$finished" -ne "$expected" ]; then
    echo "Only $finished of $expected test programs were run."
    failed=$((failed + expected - finished))
fi
if [ "$failed" -gt 0 ] && [ "$expected" -gt 1 ]; then
    echo "Failed:"
    sed -n 's/^FAIL /   /p' "$HOOKLINE_TEST_TMP"/results/*.report 2>/dev/null || true
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
