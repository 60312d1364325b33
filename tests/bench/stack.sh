# shellcheck shell=bash
# Sourced by the scripts beside it, in the folder of the sources, with BUILD set: a private, durable
# PostgreSQL ($pg_server, migrated), a private Redis, and producers ($started has their pids behind
# Redis'), all on ports from $base on and gone with the script; files are in $folder.

# shellcheck source=tests/support/postgres.sh
. tests/support/postgres.sh
folder=$(mktemp -d "${TMPDIR:-/tmp}/hookline-bench-XXXXXX")
chmod 711 "$folder"
started=()

clean_up() {
    local rc=$?
    trap - EXIT
    [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
    wait "${started[@]}" 2>/dev/null || true
    pg_stop QUIT
    rm -rf "$folder"
    exit "$rc"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

answers() { # PORT
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

wait_for() { # PORT, what listens there
    local end=$((SECONDS + 20))
    until answers "$1"; do
        [ $SECONDS -lt $end ] || { cat "$folder"/*.log >&2; echo "$2 does not start" >&2; exit 1; }
        sleep 0.05
    done
}

produce() { # PORT SETTING...: a producer with a spool of its own
    local port=$1
    shift
    env WEBHOOK_PORT="$port" WEBHOOK_SPOOL_DIR="$folder/spool-$port" "$@" \
        "$BUILD/hookline-producer" >"$folder/producer-$port.log" 2>&1 &
    started+=($!)
    wait_for "$port" "the producer"
}

# Ports are below the ephemeral range.
base=$((11000 + RANDOM % 3900))
pg_init "$folder/pg"
pg_launch "$folder/pg" fsync=on synchronous_commit=on full_page_writes=on shared_buffers=256MB \
    max_wal_size=4GB checkpoint_timeout=30min max_connections=200
psql -q "$pg_server/postgres" -c "CREATE DATABASE hookline"
redis-server --port $base --bind 127.0.0.1 --dir "$folder" --appendonly yes \
    --maxmemory-policy noeviction >"$folder/redis.log" 2>&1 &
started+=($!)
wait_for $base Redis

export WEBHOOK_DATABASE_URL="$pg_server/hookline" WEBHOOK_REDIS_URL="redis://127.0.0.1:$base"
export WEBHOOK_SECRET=a-secret-that-is-long-enough-for-everyone WEBHOOK_HOST=127.0.0.1
export WEBHOOK_LOG_FORMAT=json
"$BUILD/hooklinectl" migrate >"$folder/migrate.log" 2>&1 || {
    cat "$folder/migrate.log" >&2
    exit 1
}
