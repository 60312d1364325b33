#!/usr/bin/env bash
# Runs the container image as it is meant to be run, against a PostgreSQL, a Redis, a name server and a TLS
# page of its own, all in a network namespace of its own: make test-image. Leaves nothing behind.
#     IMAGE=hookline:1.2 VERSION=1.2 tests/image/smoke.sh
# Skipped, with a sentence that says why, where no container can be run.
set -euo pipefail

readonly size_limit_mb=80 # measured: 71; 31 of it are the tables that libxml2's ICU brings along
readonly stop_limit=5     # seconds for an idle program to leave; a kill would come after 60
readonly wait_limit=60
image=${IMAGE:?} version=${VERSION:?}
name=hookline-smoke-$$
domain=hookline.test
export PGBIN
PGBIN=$(pg_config --bindir 2>/dev/null || true)

skip() {
    echo "skipped: $*"
    exit 0
}

fail() {
    echo "FAIL  $*" >&2
    exit 1
}

ok() {
    printf 'ok    %s\n' "$*"
}

# --- where it can run ----------------------------------------------------------------------------------
[ "$(id -u)" -eq 0 ] || skip "containers with servers of their own beside them need root here"
for tool in podman unshare ip jq openssl dnsmasq redis-server setpriv; do
    command -v "$tool" >/dev/null || skip "$tool is missing: deploy/local/deps.sh run and image install it"
done
[ -x "$PGBIN/postgres" ] || skip "PostgreSQL's server is missing: make deps installs it"
if [ "${1-}" != inside ]; then
    # Without a network of our own a bridge with its firewall rules would stay behind.
    unshare --net true 2>/dev/null || skip "network namespaces cannot be made here"
    exec unshare --net -- "$0" inside
fi
ip link set lo up

# Podman's default first, then what it takes where limits cannot be raised, or crun does not run.
limits=(--ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit "nproc=4096:4096")
podman=()
choose_podman() {
    local runtime
    for runtime in '' "$(command -v runc)"; do
        podman=(podman --log-level fatal ${runtime:+--runtime "$runtime"})
        ! "${podman[@]}" run --rm --network=none "${limits[@]}" "$image" hooklinectl --version \
            >/dev/null 2>&1 || return 0
    done
    return 1
}
podman --log-level fatal image exists "$image" || skip "podman has no image $image: make image builds it, or docker save and podman load bring it"
choose_podman || skip "podman cannot run a container here"

# --- what is started, and its end ------------------------------------------------------------------------
work=$(mktemp -d)
chmod 755 "$work"
pids=()
cleanup() {
    local rc=$? pid
    [ "$rc" -eq 0 ] || tail -n 15 "$work"/*.log >&2 || true
    "${podman[@]}" ps -aq --filter "name=$name" | xargs -r "${podman[@]}" rm -f -t 1 >/dev/null
    "${podman[@]}" volume rm -f "$name" >/dev/null 2>&1 || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        timeout 10 tail -f /dev/null --pid="$pid" || kill -KILL "$pid" || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

start() { # name, command...
    local log=$work/$1.log
    shift
    "$@" >>"$log" 2>&1 </dev/null &
    pids+=($!)
}

await() { # what, command...
    local what=$1 end=$((SECONDS + wait_limit))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "waited $wait_limit s in vain: $what"
        sleep 0.1
    done
}

as_postgres() {
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
}

postgres=
start_postgres() {
    start postgres as_postgres "$PGBIN/postgres" -D "$work/pg" -k "$work/pg" -c listen_addresses=127.0.0.1 \
        -c ssl=on -c ssl_cert_file="$work/pg.crt" -c ssl_key_file="$work/pg.key" -c fsync=off
    postgres=${pids[-1]}
    await "PostgreSQL answers" "$PGBIN/pg_isready" -h 127.0.0.1
}

certificate() { # name of its files
    openssl req -newkey rsa:2048 -nodes -keyout "$work/$1.key" -out "$work/$1.csr" -subj "/CN=*.$domain" \
        -addext "subjectAltName=DNS:*.$domain" 2>/dev/null
    openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
        -copy_extensions copy -out "$work/$1.crt" 2>/dev/null
}

start_servers() {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/ca.key" -out "$work/ca.crt" -days 2 \
        -subj /CN=smoke 2>/dev/null
    certificate pg
    certificate page
    mkdir "$work/pg" "$work/www"
    chown postgres "$work/pg" "$work/pg.key"
    (as_postgres "$PGBIN/initdb" -D "$work/pg" -A trust -U postgres --no-sync -E UTF8 --locale=C) \
        >"$work/initdb.log"
    start_postgres
    start redis redis-server --bind 127.0.0.1 --port 6379 --save '' --appendonly yes --dir "$work"
    start dns dnsmasq --keep-in-foreground --no-resolv --no-hosts --listen-address=127.0.0.1 \
        --bind-interfaces --address="/$domain/127.0.0.1" --user=root --pid-file=
    # In an encoding that libc converts with a module: it must be in the image.
    printf 'HTTP/1.0 200 OK\r\nContent-Type: text/html; charset=windows-1252\r\n\r\n' >"$work/www/page.html"
    printf '<html><body><p>The k\374rbis harvest of this autumn is a good one, says the farmer.</p></body></html>' \
        >>"$work/www/page.html"
    cd "$work/www"
    start page openssl s_server -accept 8443 -cert "$work/page.crt" -key "$work/page.key" -HTTP
    cd "$work"
}

secret() { # name, value
    printf '%s' "$2" >"$work/secrets/$1"
    chown 10001:10001 "$work/secrets/$1"
    chmod 400 "$work/secrets/$1"
}

settings() {
    mkdir "$work/secrets"
    secret database_url "postgresql://postgres@db.$domain/postgres?sslmode=verify-full&sslrootcert=/run/secrets/ca"
    secret webhook_secret "$(openssl rand -hex 32)"
    secret api_secret "$(openssl rand -hex 32)"
    secret ca "$(cat "$work/ca.crt")"
    cat >"$work/env" <<END
WEBHOOK_DATABASE_URL_FILE=/run/secrets/database_url
WEBHOOK_REDIS_URL=redis://redis.$domain:6379
WEBHOOK_SECRET_FILE=/run/secrets/webhook_secret
WEBHOOK_API_SECRET_FILE=/run/secrets/api_secret
WEBHOOK_PRODUCER_ADMIN_PORT=52111
WEBHOOK_SCRAPER=direct
WEBHOOK_DIRECT_ALLOW_PRIVATE=true
WEBHOOK_PRODUCERS=2
WEBHOOK_WORKERS=2
WEBHOOK_RETRY_BASE=1s
END
}

# As strictly as an orchestrator can: a root that cannot be written, no capability, no new privilege.
options=(--network=host --dns=127.0.0.1 --read-only --read-only-tmpfs=false --cap-drop=all
    --security-opt=no-new-privileges --env-file "$work/env" -v "$work/secrets:/run/secrets:ro"
    "${limits[@]}")
run() { # option..., image, command...
    "${podman[@]}" run "${options[@]}" "$@"
}

enter() { # program whose container, command...
    "${podman[@]}" exec "$name-$1" "${@:2}"
}

inspect() { # filter for jq
    "${podman[@]}" image inspect "$image" | jq -r ".[0] | $1"
}

init_of() { # program: its process, seen from outside
    "${podman[@]}" inspect -f '{{.State.Pid}}' "$name-$1"
}

completed() { # event id
    enter producer hooklinectl events show "$1" --json |
        jq -e 'any(.. | objects; .status? == "completed")'
}

post() { # prints the event's id
    enter producer hooklinectl send --url "https://page.$domain:8443/page.html" --json | jq -r .job_id
}

# --- the image -------------------------------------------------------------------------------------------
image_is_what_was_promised() {
    local bytes
    bytes=$(inspect .Size)
    [ "$bytes" -lt $((size_limit_mb * 1000000)) ] || fail "the image has $bytes bytes"
    [ "$(inspect .Config.User)" = 10001:10001 ] || fail "user"
    [ "$(inspect .Config.StopSignal)" = SIGTERM ] || fail "stop signal"
    [ "$(inspect '.Config.Entrypoint // "none"')" = none ] || fail "entry point"
    [ "$(inspect '(.HealthCheck // .Healthcheck // .Config.Healthcheck).Test | join(" ")')" = "CMD hooklinectl health" ] ||
        fail "health check"
    local label
    for label in title description licenses version revision created; do
        [ -n "$(inspect ".Config.Labels[\"org.opencontainers.image.$label\"] // empty")" ] || fail "label $label"
    done
    [ "$(inspect '.Config.Labels["org.opencontainers.image.version"]')" = "$version" ] || fail "label version"
    ok "$((bytes / 1000000)) MB, user 10001:10001, SIGTERM, health check, labels of version $version"
}

files_are_few() {
    local id list=$work/files
    id=$("${podman[@]}" create --name "$name-files" "$image")
    "${podman[@]}" export "$id" | tar -t --verbose --numeric-owner >"$list"
    "${podman[@]}" rm "$id" >/dev/null
    # What can be executed: the programs, and libraries.
    local programs
    programs=$(awk '$1 ~ /^-..x/ { print $6 }' "$list" | grep -v '\.so' | sort | tr '\n' ' ')
    [ "$programs" = "usr/bin/hookline-producer usr/bin/hookline-worker usr/bin/hooklinectl " ] ||
        fail "programs in the image: $programs"
    awk '$1 ~ /^[^l]......[sStT]|^[^ld]...[sS]|^[^l].......w/ { print }' "$list" | grep . &&
        fail "files with special permissions, or that anybody may write"
    [ "$(awk '$2 == "10001/10001" && $6 ~ /spool/ { print $1 }' "$list")" = drwx------ ] || fail "the spool"
    grep -q 'usr/share/doc/libc6/copyright' "$list" || fail "licences"
    ok "three programs, no shell, nothing set-uid, licences of all packages"
}

programs_start() {
    local program
    for program in hookline-producer hookline-worker hooklinectl; do
        [ "$(run --rm "$image" "$program" --version)" = "$program $version" ] || fail "$program --version"
    done
    [[ $(run --rm "$image") == 'Usage: hooklinectl'* ]] || fail "without a command it shows help"
    ! run --rm "$image" sh -c true 2>/dev/null || fail "there is a shell"
    ok "--version of all three, help without a command"
}

# --- the programs in it --------------------------------------------------------------------------------------
certificates_are_judged() {
    run --rm --name "$name-tls" -d -e WEBHOOK_MAX_ATTEMPTS=1 "$image" hookline-worker >/dev/null
    local id
    id=$(post)
    await "a page with a certificate of nobody's fails" failed_of_certificate "$id"
    "${podman[@]}" stop -t 60 "$name-tls" >/dev/null
    ok "a page whose certificate nobody signed is not fetched"
}

failed_of_certificate() { # event id
    enter producer hooklinectl events show "$1" --json | grep -qi 'failed.*certificate'
}

identity_is_harmless() { # program
    local status
    status=/proc/$(init_of "$1")/status
    grep -qP '^Uid:\t10001\t10001\t10001\t10001' "$status" || fail "$1 has another user"
    grep -qP '^CapEff:\t0+$' "$status" || fail "$1 has capabilities"
    grep -qP '^NoNewPrivs:\t1$' "$status" || fail "$1 may gain privileges"
    grep -qP '^NSpid:\t\d+\t1$' "$status" || fail "$1 is not PID 1"
}

no_zombies() { # program: nothing in its container has ended and was not reaped
    [[ $(ps -o stat= --ppid "$(init_of "$1")") != *Z* ]]
}

orphans_are_reaped() { # program
    # Two generations in the container's PID namespace; the second is orphaned, and given to PID 1.
    local init orphan
    init=$(init_of "$1")
    nsenter --pid --target "$init" -- sh -c 'sleep 2 >/dev/null 2>&1 & exit 0'
    await "the orphan belongs to PID 1 of $1" pgrep -P "$init" -x sleep
    orphan=$(pgrep -P "$init" -x sleep)
    await "the orphan is reaped" test ! -e "/proc/$orphan"
}

stops_well() { # program
    local started=$SECONDS
    "${podman[@]}" stop -t 60 "$name-$1" >/dev/null
    [ "$(("$SECONDS" - started))" -le "$stop_limit" ] || fail "$1 took $((SECONDS - started)) s to stop"
    [ "$("${podman[@]}" inspect -f '{{.State.ExitCode}}' "$name-$1")" = 0 ] || fail "$1 did not exit with 0"
}

healthy() { # program
    "${podman[@]}" healthcheck run "$name-$1"
}

events_are_done() {
    local id
    start_servers
    settings
    run --rm "$image" hooklinectl migrate >"$work/migrate.log" 2>&1 || fail "migrate"
    ok "migrate, through PostgreSQL with TLS, by a name that a name server knows"

    run -d --name "$name-producer" -v "$name:/var/lib/hookline/spool" "$image" hookline-producer >/dev/null
    await "the producer is healthy" healthy producer
    certificates_are_judged
    # The authority of this test in the place of the world's.
    run -d --name "$name-worker" -v "$work/ca.crt:/etc/ssl/certs/ca-certificates.crt:ro" "$image" \
        hookline-worker >/dev/null
    await "the worker is healthy" healthy worker
    identity_is_harmless producer
    identity_is_harmless worker
    ok "both as PID 1 and user 10001, without capabilities, healthy"

    id=$(post)
    await "the event is completed" completed "$id"
    [[ $(enter worker hooklinectl search kürbis) == *"page.$domain"* ]] || fail "the page's encoding was lost"
    ok "a signed event is completed: a page over TLS, in windows-1252, found by its text"

    kill -INT "$postgres"
    wait "$postgres" || true
    id=$(post)
    [ -n "$("${podman[@]}" volume inspect "$name" | jq -r '.[0].Mountpoint' | xargs -I{} find {} -name '*.seg' -uid 10001 -size +100c)" ] ||
        fail "nothing in the spool"
    start_postgres
    await "the event of the spool is completed" completed "$id"
    ok "while PostgreSQL is away an event waits in a fresh volume on the spool"

    orphans_are_reaped producer
    orphans_are_reaped worker
    await "no zombies of the producer" no_zombies producer
    await "no zombies of the worker" no_zombies worker
    ok "orphans are reaped"

    stops_well worker
    stops_well producer
    ok "both stop within $stop_limit s with exit code 0"
}

nothing_is_written_elsewhere() {
    local changed
    "${podman[@]}" run -d --name "$name-writable" --network=host --dns=127.0.0.1 --env-file "$work/env" \
        "${limits[@]}" -v "$work/secrets:/run/secrets:ro" "$image" hookline-producer >/dev/null
    await "a producer with a root that it could write is healthy" healthy writable
    stops_well writable
    # Beside the spool there is only what podman makes to mount on.
    changed=$("${podman[@]}" diff "$name-writable" | cut -d' ' -f2 |
        grep -vE '^/(etc|run|dev|proc|sys|var|tmp)?$|^/var/lib(/hookline(/spool(/.*)?)?)?$|^/run/(secrets|\.containerenv)|^/etc/(mtab|hosts|hostname|resolv.conf)' || true)
    [ -z "$changed" ] || fail "written outside the spool: $changed"
    ok "nothing is written outside the spool"
}

image_is_what_was_promised
files_are_few
: >"$work/env"
mkdir -p "$work/secrets"
programs_start
rmdir "$work/secrets"
events_are_done
nothing_is_written_elsewhere
echo "image: all good"
