#!/usr/bin/env bash
# Runs bench_postgres against a private, durable PostgreSQL; arguments go to it (--help lists them).
# BUILD: folder of the built programs; the numbers go to $BUILD/bench/postgres.json too.
# TMPDIR should be on the disk that is to be measured: with fsync on, its commit time is half the result.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
BUILD=${BUILD:-build}

case " $* " in *" --help "* | *" -h "*) exec "$BUILD/tests/bench/bench_postgres" --help ;; esac

as_pg=() pg_pid=
[ "$(id -u)" -ne 0 ] || as_pg=(--reuid=postgres --regid=postgres --init-groups)
bin=$(pg_config --bindir)
folder=$(mktemp -d "${TMPDIR:-/tmp}/hookline-bench-XXXXXX")
chmod 711 "$folder"

clean_up() {
    local rc=$?
    trap - EXIT
    if [ -n "$pg_pid" ]; then
        kill -QUIT "$pg_pid" 2>/dev/null || true
        wait "$pg_pid" 2>/dev/null || true
    fi
    rm -rf "$folder"
    exit "$rc"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# On a port below the ephemeral range, where no client's own port can come in the way.
launch() {
    local tries port end
    for ((tries = 0; tries < 5; tries++)); do
        port=$((15000 + RANDOM % 17000))
        server="postgresql://postgres@127.0.0.1:$port"
        setpriv --pdeathsig QUIT "${as_pg[@]}" -- "$bin/postgres" -D "$folder/pg/data" -p "$port" \
            -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=on \
            -c synchronous_commit=on -c full_page_writes=on -c shared_buffers=256MB \
            -c max_wal_size=4GB -c checkpoint_timeout=30min >>"$folder/pg/log" 2>&1 </dev/null &
        pg_pid=$! end=$((SECONDS + 30))
        while kill -0 "$pg_pid" 2>/dev/null && [ $SECONDS -lt $end ]; do
            pg_isready -q -d "$server/postgres" && kill -0 "$pg_pid" 2>/dev/null && return 0
            sleep 0.05
        done
        kill -QUIT "$pg_pid" 2>/dev/null || true
        wait "$pg_pid" || true
        pg_pid=
    done
    echo "The benchmark's PostgreSQL does not start:" >&2
    tail "$folder/pg/log" >&2
    return 1
}

mkdir "$folder/pg"
[ "$(id -u)" -ne 0 ] || chown postgres "$folder/pg"
setpriv "${as_pg[@]}" -- "$bin/initdb" -D "$folder/pg/data" -A trust -U postgres --no-instructions \
    -E UTF8 --locale=C >"$folder/initdb.log" 2>&1 || {
    cat "$folder/initdb.log" >&2
    exit 1
}
launch
psql -q "$server/postgres" -c "CREATE DATABASE hookline"
WEBHOOK_DATABASE_URL="$server/hookline" "$BUILD/hooklinectl" migrate >"$folder/migrate.log" 2>&1 || {
    cat "$folder/migrate.log" >&2
    exit 1
}
mkdir -p "$BUILD/bench"
BENCH_DATABASE_URL="$server/hookline" BENCH_BESIDE_URL="$server/postgres" \
    "$BUILD/tests/bench/bench_postgres" --json "$BUILD/bench/postgres.json" "$@"
