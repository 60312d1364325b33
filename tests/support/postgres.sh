# shellcheck shell=bash
# A private PostgreSQL for tests and benchmarks; sourced, not run. Sets as_pg, the command prefix that
# runs something as the server's user (PostgreSQL refuses root), and pg_pid while a server runs.
as_pg=()
[ "$(id -u)" -ne 0 ] || as_pg=(setpriv --reuid=postgres --regid=postgres --init-groups)
pg_pid=

# pg_init FOLDER OPTION...: makes FOLDER and in it the cluster FOLDER/data, with initdb's options.
pg_init() {
    local folder=$1
    shift
    mkdir "$folder"
    [ "$(id -u)" -ne 0 ] || chown postgres "$folder"
    "${as_pg[@]}" "$(pg_config --bindir)/initdb" -D "$folder/data" -A trust -U postgres \
        --no-instructions -E UTF8 --locale=C "$@" >"$folder/initdb.log" 2>&1 || {
        cat "$folder/initdb.log" >&2
        return 1
    }
}

# pg_launch FOLDER SETTING...: starts it (SETTING: name=value), waits until it answers, and sets
# pg_server to its URL without a database. On a port below the ephemeral range, where no client's own
# port can come in the way.
pg_launch() {
    local folder=$1 tries port end setting settings=()
    shift
    for setting; do settings+=(-c "$setting"); done
    for ((tries = 0; tries < 5; tries++)); do
        port=$((15000 + RANDOM % 17000))
        pg_server="postgresql://postgres@127.0.0.1:$port"
        setpriv --pdeathsig QUIT "${as_pg[@]:1}" -- "$(pg_config --bindir)/postgres" \
            -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 \
            -c unix_socket_directories= "${settings[@]}" \
            >>"$folder/postgres.log" 2>&1 </dev/null &
        pg_pid=$! end=$((SECONDS + 30))
        while kill -0 "$pg_pid" 2>/dev/null && [ $SECONDS -lt $end ]; do
            pg_isready -q -d "$pg_server/postgres" && kill -0 "$pg_pid" 2>/dev/null && return 0
            sleep 0.05
        done
        pg_stop QUIT
    done
    echo "PostgreSQL does not start:" >&2
    tail "$folder/postgres.log" >&2
    return 1
}

# pg_stop SIGNAL: INT stops it cleanly, QUIT at once. Waits until it is gone; nothing runs: nothing to do.
pg_stop() {
    [ -n "$pg_pid" ] || return 0
    kill "-$1" "$pg_pid" 2>/dev/null || true
    wait "$pg_pid" 2>/dev/null || true
    pg_pid=
}
