#!/usr/bin/env bash
# Runs bench_metrics against a private, durable PostgreSQL, a private Redis and two producers, one with
# metrics and one without; arguments go to it (--help lists them). BUILD: folder of the built programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
BUILD=${BUILD:-build}

case " $* " in *" --help "*) exec "$BUILD/tests/bench/bench_metrics" --help ;; esac

# shellcheck source=tests/bench/stack.sh
. tests/bench/stack.sh
export WEBHOOK_PRODUCERS=1
produce $((base + 1)) WEBHOOK_METRICS_BUFFER=0
produce $((base + 2))

BENCH_DATABASE_URL="$pg_server/hookline" BENCH_SECRET="$WEBHOOK_SECRET" \
    BENCH_PORT_WITHOUT=$((base + 1)) BENCH_PORT_WITH=$((base + 2)) \
    BENCH_PARENTS="$pg_pid ${started[1]} ${started[2]}" \
    "$BUILD/tests/bench/bench_metrics" "$@"
if grep -h '"metrics_dropped"' "$folder"/producer-*.log; then
    echo "the producer could not write all of its metrics" >&2
fi
