#!/usr/bin/env bash
# A private Hookline on this machine: PostgreSQL, Redis, a sample page, the producer and the worker.
#     stack.sh run     start, send a sample event and a sample crawl, stay until Ctrl-C
#     stack.sh demo    the same, then stop everything; exit 0 when both were completed
# Use it through `make run` and `make demo`. BUILD: folder of the built programs. WEBHOOK_PORT,
# WEBHOOK_WORKERS, WEBHOOK_CONCURRENCY and WEBHOOK_LOG_LEVEL are passed on; nothing else of the
# environment is, so that no variable of yours can point this stack at a database of yours.
# Data, logs and secrets stay in .run/ for the next time. System instances are never touched.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly default_port=52100
readonly event_deadline=60 # seconds from the answer to the completed row
readonly start_deadline=30
readonly drain_seconds=20 # what work in hand gets when the stack stops
readonly here=$PWD
mode=${1-}
BUILD=${BUILD:-build}

names=() pids=() # what was started, in order; stopped in the opposite order
shown=           # pid of the log viewer
sockets=         # folder of the unix sockets
short_sockets=   # the same, when it was made outside of the data folder
stopping=

case $mode in
run | demo) ;;
*)
    echo "usage: stack.sh run|demo" >&2
    exit 2
    ;;
esac

say() {
    printf '%s\n' "$*"
}

die() {
    printf 'stack: %s\n' "$*" >&2
    exit 1
}

# --- whose processes, which folder -------------------------------------------------------------------
runner=$(id -un) # user that runs the servers
account=     # the same, when that is not ourselves
as_account=() # put before a command that the account runs

choose_account() {
    [ "$(id -u)" -eq 0 ] || return 0
    local name
    for name in postgres nobody; do # PostgreSQL refuses to run as root
        if id -u "$name" >/dev/null 2>&1; then
            account=$name runner=$name
            as_account=(setpriv "--reuid=$name" "--regid=$(id -g "$name")" --init-groups --)
            return 0
        fi
    done
    die "running as root, and there is no user postgres or nobody to run the servers as"
}

own() { # files: given to the account
    [ -z "$account" ] || chown "$account" "$@"
}

private_folder() { # made unless it is there
    [ -d "$1" ] || mkdir -m 700 "$1"
}

reachable() { # folder: may the account enter it?
    "${as_account[@]}" test -x "$1"
}

path_hash() {
    printf '%s' "$here" | sha256sum | cut -c 1-10
}

# .run/ itself, or, where the account cannot get there (below /root, say), a folder that .run links to.
choose_state() {
    if [ -L .run ]; then
        state=$(readlink -f .run)
        [ -d "$state" ] || {
            rm .run
            choose_state
            return
        }
    elif reachable "$here"; then
        state=$here/.run
        private_folder "$state"
    else
        state=/var/lib/hookline-run-$(path_hash)
        private_folder "$state"
        [ -O "$state" ] || [ -n "$account" ] || die "$state belongs to somebody else"
        [ ! -d .run ] || die "user $account cannot enter $here, and there is a .run/ there already: move it away"
        ln -s "$state" .run
        say "User $account cannot enter $here: the data is in $state, and .run links to it."
    fi
    local owner
    owner=$(stat -c %U "$state/pg" 2>/dev/null) || owner=$runner
    [ "$owner" = "$runner" ] ||
        die "the data in .run/ belongs to $owner, and would be used by $runner: remove .run to begin anew"
    own "$state"
    reachable "$state" || die "user $runner cannot enter $state: remove it, or mend its permissions"
    local folder
    for folder in log redis; do
        private_folder "$state/$folder"
        own "$state/$folder"
    done
}

# Unix socket paths are limited to 107 bytes, and a blank in one would have to be escaped in URLs.
choose_sockets() {
    local base
    sockets=$state/sockets
    if [ ${#sockets} -gt 80 ] || [[ $sockets == *[!A-Za-z0-9/._-]* ]]; then
        base=${TMPDIR:-/tmp}
        if [ ${#base} -gt 50 ] || [[ $base == *[!A-Za-z0-9/._-]* ]] || ! reachable "$base"; then base=/tmp; fi
        sockets=$base/hookline-$(id -u)-$(path_hash)
        short_sockets=$sockets
    fi
    mkdir -m 700 "$sockets" 2>/dev/null && own "$sockets"
    if [ ! -d "$sockets" ] || [ -L "$sockets" ] || [ "$(stat -c %U "$sockets")" != "$runner" ]; then
        die "$sockets is in the way: it is not a folder of $runner"
    fi
}

# One stack per folder. The descriptor is closed in everything that is started.
take_lock() {
    exec 9>>"$state/lock"
    flock -n 9 || die "a stack of this folder is running already (pid $(cat "$state/pid" 2>/dev/null || echo '?'))"
    echo $$ >"$state/pid"
}

# The account must be able to execute the programs; where it cannot, it gets copies.
choose_programs() {
    local program
    case $BUILD in /*) programs=$BUILD ;; *) programs=$here/$BUILD ;; esac
    for program in hookline-producer hookline-worker hooklinectl samplepage; do
        [ -x "$programs/$program" ] || die "$BUILD/$program is not built: run make first"
    done
    if ! reachable "$programs" || ! "${as_account[@]}" test -x "$programs/hooklinectl"; then
        private_folder "$state/bin"
        own "$state/bin"
        for program in hookline-producer hookline-worker hooklinectl samplepage; do
            install -m 755 "$programs/$program" "$state/bin/$program"
        done
        programs=$state/bin
    fi
}

# --- starting, waiting, stopping -----------------------------------------------------------------------
# In a session of its own, so that Ctrl-C reaches this script only and the order of stopping is ours;
# told to stop, too, when this script is killed without a chance to do it.
start() { # name, signal, command...
    local name=$1 death_signal=$2
    shift 2
    [ ! -f "$state/log/$name.log" ] || mv "$state/log/$name.log" "$state/log/$name.log.1"
    (
        cd "$state"
        exec setsid "${as_account[@]}" setpriv --pdeathsig "$death_signal" -- \
            env -i PATH="$PATH" HOME="$state" LANG=C.UTF-8 TZ="${TZ-}" "$@"
    ) >>"$state/log/$name.log" 2>&1 </dev/null 9>&- &
    names+=("$name")
    pids+=("$!")
}

ctl() { # hooklinectl, with the stack's settings and nothing of our environment
    (
        cd "$state"
        exec "${as_account[@]}" env -i PATH="$PATH" HOME="$state" LANG=C.UTF-8 \
            "$programs/hooklinectl" --config "$state/env" "$@"
    ) </dev/null 9>&-
}

sql() { # statement...; one line per row, fields separated by tabs
    PGCONNECT_TIMEOUT=5 psql -X -q -A -t -F $'\t' -v ON_ERROR_STOP=1 "$database" "$@" 9>&-
}

alive() { # pid; a zombie is dead
    local stat
    stat=$(ps -o stat= -p "$1" 2>/dev/null) && [[ $stat != Z* ]]
}

pid_of() { # name
    local i
    for i in "${!names[@]}"; do
        [ "${names[i]}" != "$1" ] || echo "${pids[i]}"
    done
}

tail_of() { # name: the end of its log, indented
    tail -n "${2:-15}" "$state/log/$1.log" 2>/dev/null | sed 's/^/    /'
}

# Waits for a command to succeed, for as long as the named process lives.
await() { # name, what, command...
    local name=$1 what=$2 pid end=$((SECONDS + start_deadline))
    pid=$(pid_of "$name")
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ! alive "$pid"; then
            tail_of "$name" >&2
            die "$name ended instead of $what; its log: $state/log/$name.log"
        fi
        if [ $SECONDS -ge $end ]; then
            tail_of "$name" >&2
            die "$name is not $what after $start_deadline s; its log: $state/log/$name.log"
        fi
        sleep 0.1
    done
}

stop() { # name, pid, signal, seconds; then SIGKILL, to its whole session
    local end=$((SECONDS + $4))
    kill "-$3" "$2" 2>/dev/null || true
    while alive "$2" && [ $SECONDS -lt $end ]; do sleep 0.05; done
    if alive "$2"; then
        say "  $1 (pid $2) did not stop within $4 s: killed"
        kill -KILL -- "-$2" 2>/dev/null || kill -KILL "$2" 2>/dev/null || true
        while alive "$2" && [ $SECONDS -lt $((end + 5)) ]; do sleep 0.05; done
        return 0
    fi
    say "  $1 stopped"
}

stop_all() {
    local i
    [ ${#pids[@]} -gt 0 ] || return 0
    say "Stopping:"
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        case ${names[i]} in
        postgres) stop postgres "${pids[i]}" INT 30 ;;
        hookline-*) stop "${names[i]}" "${pids[i]}" TERM $((drain_seconds + 10)) ;;
        *) stop "${names[i]}" "${pids[i]}" TERM 10 ;;
        esac
    done
    [ -z "$shown" ] || kill "$shown" 2>/dev/null || true
    for ((i = 0; i < ${#pids[@]}; i++)); do
        if alive "${pids[i]}"; then
            say "  ${names[i]} (pid ${pids[i]}) is still there"
            return 1
        fi
    done
    say "Nothing is left running. The data stays in .run/ for the next time."
}

leave() {
    local rc=$?
    trap - EXIT
    trap '' INT TERM HUP # the deadlines below are the limit of anybody's patience
    [ -z "$stopping" ] || exit "$rc"
    stopping=1
    stop_all || rc=1
    [ -z "$short_sockets" ] || rmdir "$short_sockets" 2>/dev/null || true
    exit "$rc"
}

# --- the settings -------------------------------------------------------------------------------------------
port_taken() { # port
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

who_listens() { # port; " (by NAME, pid N)" where it can be told
    local user
    user=$(ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1, pid \2/p' | head -n 1) || true
    [ -z "$user" ] || printf ' by %s' "$user"
}

choose_port() {
    port=${WEBHOOK_PORT:-$default_port}
    if ! [[ $port =~ ^[0-9]{1,5}$ ]] || [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then
        die "WEBHOOK_PORT=$port is no port: 1 to 65535"
    fi
    port_taken "$port" || return 0
    [ -z "${WEBHOOK_PORT-}" ] ||
        die "port $port, which WEBHOOK_PORT asks for, is taken$(who_listens "$port"): choose another"
    local taken=$port
    next_free_port
    say "Port $taken is taken$(who_listens "$taken"): using $port. WEBHOOK_PORT=N make $mode chooses another."
}

next_free_port() {
    port=$((port + 1))
    while port_taken "$port"; do
        port=$((port + 1))
        [ "$port" -lt $((default_port + 200)) ] || die "no free port from $default_port on: set WEBHOOK_PORT"
    done
}

# A port that nobody listens on may still be some client's own, or be taken a moment later: then the
# producer says so and leaves, and another port is tried, unless this one was asked for.
start_producer() {
    local tries taken end=$((SECONDS + start_deadline))
    for ((tries = 0; tries < 20; tries++)); do
        start hookline-producer TERM "$programs/hookline-producer" --config "$state/env"
        while alive "${pids[-1]}" && ! port_taken "$port" && [ $SECONDS -lt $end ]; do sleep 0.1; done
        if alive "${pids[-1]}" || [ -n "${WEBHOOK_PORT-}" ] ||
            ! grep -q 'start_failed.*cannot listen' "$state/log/hookline-producer.log"; then
            break
        fi
        unset 'names[-1]' 'pids[-1]'
        taken=$port
        next_free_port
        say "Port $taken is in use: using $port. WEBHOOK_PORT=N make $mode chooses another."
        write_settings
    done
    await hookline-producer "listening on port $port" port_taken "$port"
}

setting() { # name
    sed -n "s/^$1=//p" "$state/env"
}

secret() { # name: what the file says already, or a new one
    local old=
    [ ! -f "$state/env" ] || old=$(setting "$1")
    [ -n "$old" ] || old=$(od -An -N32 -v -tx1 /dev/urandom | tr -d ' \n')
    printf '%s=%s\n' "$1" "$old"
}

# Of the worker's metrics and probes; were it taken in between, the worker would try again.
choose_admin_port() {
    admin_port=52110
    while [ "$admin_port" -eq "$port" ] || port_taken "$admin_port"; do
        admin_port=$((admin_port + 1))
        [ "$admin_port" -lt 52190 ] || die "no free port from 52110 on for the worker's metrics"
    done
}

write_settings() {
    local name
    database="postgresql://hookline@/hookline?host=$sockets"
    (
        umask 077
        {
            echo "# Settings of the local stack, written by deploy/local/stack.sh at every start."
            echo "# The secrets were made once and are kept."
            secret WEBHOOK_SECRET
            secret WEBHOOK_INTAKE_TOKEN
            secret WEBHOOK_API_SECRET
            secret WEBHOOK_API_SECRET_READONLY
            echo "WEBHOOK_DATABASE_URL=$database"
            echo "WEBHOOK_REDIS_URL=unix://$sockets/redis.sock"
            echo "WEBHOOK_HOST=127.0.0.1"
            echo "WEBHOOK_PORT=$port"
            echo "WEBHOOK_ADMIN_HOST=127.0.0.1"
            echo "WEBHOOK_ADMIN_PORT=$admin_port"
            echo "WEBHOOK_SPOOL_DIR=$state/spool"
            echo "WEBHOOK_RECEIPTS_DIR=$state/receipts"
            echo "WEBHOOK_SCRAPER=direct"
            echo "WEBHOOK_DIRECT_ALLOW_PRIVATE=true"
            echo "WEBHOOK_CRAWL_RECONCILE=off" # there is no Firecrawl here
            echo "WEBHOOK_WORKERS=${WEBHOOK_WORKERS:-2}"
            echo "WEBHOOK_PRODUCERS=1"
            echo "WEBHOOK_DRAIN_TIMEOUT=$drain_seconds"
            echo "WEBHOOK_LOG_FORMAT=text"
            for name in WEBHOOK_CONCURRENCY WEBHOOK_LOG_LEVEL; do
                [ -z "${!name-}" ] || echo "$name=${!name}"
            done
        } >"$state/env.new"
        mv "$state/env.new" "$state/env"
    )
    own "$state/env"
}

# --- the stores ---------------------------------------------------------------------------------------------
# A postmaster.pid may be left over from a kill -9. When its process is gone, or is another program by
# now, the file goes; when it is our postmaster on its way out, it gets the time to end.
settle_old_postmaster() { # data folder
    local pid end=$((SECONDS + start_deadline))
    [ -f "$1/postmaster.pid" ] || return 0
    pid=$(head -n 1 "$1/postmaster.pid")
    [[ $pid =~ ^[0-9]+$ ]] || pid=0
    while [ "$pid" -gt 0 ] && alive "$pid" && [ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$1")" ]; do
        kill -INT "$pid" 2>/dev/null || true
        [ $SECONDS -lt $end ] || die "an old PostgreSQL (pid $pid) on $1 does not stop"
        sleep 0.1
    done
    rm -f "$1/postmaster.pid"
}

start_postgres() {
    local bin data=$state/pg
    bin=$(pg_config --bindir)
    [ -x "$bin/postgres" ] || die "there is no PostgreSQL server in $bin: run make deps"
    if [ ! -d "$data" ]; then
        rm -rf "$data.new" # a first start that was interrupted
        mkdir -m 700 "$data.new"
        own "$data.new"
        (cd "$state" && "${as_account[@]}" "$bin/initdb" -D "$data.new" -A trust -U hookline -E UTF8 \
            --locale=C --no-instructions) >"$state/log/initdb.log" 2>&1 </dev/null 9>&- || {
            tail_of initdb >&2
            die "initdb failed"
        }
        mv "$data.new" "$data"
    fi
    local made_by has
    made_by=$(cat "$data/PG_VERSION")
    has=$("$bin/postgres" --version | sed 's/.* \([0-9]*\)\..*/\1/')
    [ "$made_by" = "$has" ] ||
        die "the data in .run/pg was made by PostgreSQL $made_by, installed is $has: remove .run/pg to begin anew"
    settle_old_postmaster "$data"
    start postgres INT "$bin/postgres" -D "$data" -c listen_addresses= \
        -c "unix_socket_directories=$sockets" -c unix_socket_permissions=0700 \
        -c shared_buffers=32MB -c max_connections=200 -c log_min_messages=warning
    await postgres "accepting connections" pg_isready -q -h "$sockets" -d postgres
    PGHOST=$sockets PGUSER=hookline psql -X -q -A -t -v ON_ERROR_STOP=1 -d postgres 9>&- <<'SQL'
SELECT 'CREATE DATABASE hookline' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'hookline') \gexec
SQL
}

start_redis() {
    start redis TERM redis-server --port 0 --unixsocket "$sockets/redis.sock" --unixsocketperm 700 \
        --dir redis --save "" --appendonly yes --appendfsync everysec \
        --maxmemory-policy noeviction --daemonize no --loglevel notice
    await redis "answering" redis_answers
}

redis_answers() {
    [ "$(redis-cli -s "$sockets/redis.sock" ping 9>&-)" = PONG ]
}

# --- the event -----------------------------------------------------------------------------------------------
send_sample() { # sets job: the event's id, known at once even where the row follows later
    local answer
    say "Sending a signed sample event for $page"
    answer=$(ctl send --json --url "$page" --watch-id sample --title "The harbour notice board") || {
        [ -z "$answer" ] || say "  $answer"
        die "the sample event was not accepted"
    }
    say "  $answer"
    job=$(sed -n 's/.*"job_id": *"\([0-9a-f-]*\)".*/\1/p' <<<"$answer")
    [ -n "$job" ] || die "the answer has no job_id"
}

wait_completed() {
    local status last=none end=$((SECONDS + event_deadline)) started=$SECONDS
    while :; do
        status=$(sql -c "SELECT rescrape_status FROM webhook.change_events WHERE event_id = '$job'")
        [ "$status" = "$last" ] || say "  $((SECONDS - started)) s: ${status:-no row yet}"
        last=$status
        case $status in
        completed) return 0 ;;
        failed* | superseded)
            show_row
            die "the sample event ended as \"$status\""
            ;;
        esac
        all_alive
        if [ $SECONDS -ge $end ]; then
            show_row
            tail_of hookline-worker >&2
            die "the sample event is not completed after $event_deadline s"
        fi
        sleep 0.2
    done
}

# --- the crawl -----------------------------------------------------------------------------------------------
post_crawl_event() { # type, data; what Firecrawl would post, with the token
    local answer body="{\"success\":true,\"type\":\"crawl.$1\",\"id\":\"$crawl\",\"data\":[$2],
        \"metadata\":{\"url\":\"$page\"}}"
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'POST /api/webhook/firecrawl HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n%s\r\n%s\r\n\r\n%s' \
        "X-Webhook-Token: $(setting WEBHOOK_INTAKE_TOKEN)" "Connection: close" \
        "Content-Length: $(printf %s "$body" | wc -c)" "$body" >&3
    answer=$(cat <&3)
    exec 3>&-
    say "  crawl.$1: ${answer##*$'\n'}"
    [[ $answer == "HTTP/1.1 20"* ]] || die "the sample crawl was not accepted"
}

send_crawl() {
    crawl=sample-$(date +%s)
    say ""
    say "Sending the events of a sample crawl, as Firecrawl would"
    post_crawl_event started ""
    post_crawl_event page "{\"markdown\":\"# Tides\\n\\nHigh water at noon.\",
        \"metadata\":{\"url\":\"${page}tides\",\"title\":\"Tides\",\"statusCode\":200}}"
    post_crawl_event completed ""
}

wait_crawled() {
    local look end=$((SECONDS + event_deadline))
    look="SELECT FROM webhook.crawl_sessions WHERE job_id = '$crawl' AND status = 'completed' AND pages_indexed = 1"
    until [ "$(sql -c "SELECT EXISTS ($look)")" = t ]; do
        all_alive
        if [ $SECONDS -ge $end ]; then
            show_crawl
            tail_of hookline-worker >&2
            die "the sample crawl is not completed after $event_deadline s"
        fi
        sleep 0.2
    done
}

show_crawl() {
    show "The crawl's row in webhook.crawl_sessions:" <<SQL
SELECT job_id, base_url, status, total_pages, pages_indexed, pages_failed
  FROM webhook.crawl_sessions WHERE job_id = '$crawl'
SQL
}

all_alive() {
    local i
    for i in "${!pids[@]}"; do
        alive "${pids[i]}" && continue
        tail_of "${names[i]}" >&2
        die "${names[i]} has ended; its log: $state/log/${names[i]}.log"
    done
}

show() { # heading; a query on standard input: its one row, a line for each column that has a value
    local row
    row=$(PGCONNECT_TIMEOUT=5 psql -X -q -x -A -t -F ': ' "$database" 9>&- | sed '/: $/d' | fold -s -w 96)
    printf '\n%s\n' "$1"
    printf '%s\n' "${row:-(nothing)}" | sed 's/^/  /'
}

show_row() {
    show "The event's row in webhook.change_events:" <<SQL
SELECT id, watch_url, rescrape_status AS status, detected_at, indexed_at, metadata ->> 'error' AS error
  FROM webhook.change_events WHERE event_id = '$job'
SQL
}

show_document() {
    show "What was indexed from the page, in webhook.documents:" <<SQL
SELECT d.title, length(d.text) AS characters, regexp_replace(left(d.text, 300), '\s+', ' ', 'g') AS text
  FROM webhook.documents d JOIN webhook.change_events e ON e.watch_url = d.url OR e.event_id = d.event_id
 WHERE e.event_id = '$job' LIMIT 1
SQL
}

show_next_steps() {
    local tool=$BUILD/hooklinectl
    say ""
    say "The dashboard:  http://127.0.0.1:$port/dashboard"
    say "Sign in with a secret of .run/env: WEBHOOK_API_SECRET, or ..._READONLY to look and change nothing:"
    say "  grep API_SECRET .run/env"
    say ""
    say "In another terminal, in this folder:"
    say "  $tool --config .run/env send --url $page          # another event"
    say "  $tool --config .run/env search mackerel           # look into the index"
    say "  $tool --config .run/env status                    # queues, workers, events"
    say "  $tool --config .run/env crawls list               # crawl sessions"
    say "  $tool --config .run/env rejects list              # webhooks that were refused"
    say "  $tool --config .run/env audit --wait              # proves that nothing is missing"
    say "  psql '$database'"
    say "  curl http://127.0.0.1:$admin_port/metrics         # the worker's, for Prometheus"
    say "and with the secret of the API:"
    say "  . .run/env"
    say "  curl -H \"Authorization: Bearer \$WEBHOOK_API_SECRET\" 'http://127.0.0.1:$port/api/events?limit=3'"
    say "  curl -H \"Authorization: Bearer \$WEBHOOK_API_SECRET\" http://127.0.0.1:$port/api/metrics/crawls/$crawl"
    say "Ctrl-C stops everything. The logs of the producer and the worker follow."
    say ""
}

# --- the story -----------------------------------------------------------------------------------------------
choose_account
choose_state
take_lock
trap leave EXIT
trap 'say "stack: line $LINENO failed: $BASH_COMMAND" >&2' ERR
trap 'say ""; say "Interrupted."; exit 130' INT
trap 'exit 143' TERM HUP
choose_sockets
choose_programs
choose_port
choose_admin_port
write_settings

say "Starting PostgreSQL and Redis of our own in .run/${account:+ (as user $account)}"
start_postgres
start_redis
ctl migrate >"$state/log/migrate.log" 2>&1 || {
    tail_of migrate >&2
    die "the migration failed"
}
start samplepage TERM "$programs/samplepage"
await samplepage "serving" grep -q '^http' "$state/log/samplepage.log"
page=$(grep -m 1 '^http' "$state/log/samplepage.log")

say "Starting the producer and the worker"
start hookline-worker TERM "$programs/hookline-worker" --config "$state/env"
start_producer

send_sample
wait_completed
show_row
show_document
send_crawl
wait_crawled
show_crawl
if [ "$mode" = demo ]; then
    say ""
    say "The sample event and the sample crawl were completed."
    exit 0
fi

show_next_steps
setpriv --pdeathsig TERM -- tail -q -n +1 -F "$state/log/hookline-producer.log" "$state/log/hookline-worker.log" 2>/dev/null 9>&- &
shown=$!
trap 'say ""; exit 0' INT TERM HUP
while :; do
    wait -n "${pids[@]}" || true
    all_alive
done
