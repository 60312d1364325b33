#!/usr/bin/env bash
# Runs bench_postgres against a private, durable PostgreSQL; arguments go to it (--help lists them).
# BUILD: folder of the built programs; the numbers go to $BUILD/bench/postgres.json too.
# TMPDIR should be on the disk that is to be measured: with fsync on, its commit time is half the result.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
BUILD=${BUILD:-build}

case " $* " in *" --help "* | *" -h "*) exec "$BUILD/tests/bench/bench_postgres" --help ;; esac

# shellcheck source=tests/support/postgres.sh
. tests/support/postgres.sh
folder=$(mktemp -d "${TMPDIR:-/tmp}/hookline-bench-XXXXXX")
chmod 711 "$folder"

clean_up() {
    local rc=$?
    trap - EXIT
    pg_stop QUIT
    rm -rf "$folder"
    exit "$rc"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

pg_init "$folder/pg"
pg_launch "$folder/pg" fsync=on synchronous_commit=on full_page_writes=on shared_buffers=256MB \
    max_wal_size=4GB checkpoint_timeout=30min
psql -q "$pg_server/postgres" -c "CREATE DATABASE hookline"
WEBHOOK_DATABASE_URL="$pg_server/hookline" "$BUILD/hooklinectl" migrate >"$folder/migrate.log" 2>&1 || {
    cat "$folder/migrate.log" >&2
    exit 1
}
mkdir -p "$BUILD/bench"
BENCH_DATABASE_URL="$pg_server/hookline" BENCH_BESIDE_URL="$pg_server/postgres" \
    "$BUILD/tests/bench/bench_postgres" --json "$BUILD/bench/postgres.json" "$@"
