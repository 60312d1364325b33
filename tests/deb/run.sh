#!/usr/bin/env bash
# The installed package at work, for test.sh: run.sh ROOT WORK, in a network namespace of its own with this
# host's PostgreSQL and Redis. Each unit's ExecStart= runs in ROOT with its Environment= under what of its
# restrictions can be made without systemd: user, no capabilities, no new privileges, ProtectSystem=strict,
# ProtectHome=, PrivateTmp=, PrivateDevices=, ProtectProc=, UMask=, StateDirectory=, LimitCORE= and the
# system call filters (confine.c). Not made: PrivateUsers=, RemoveIPC=, what has to do with cgroups and
# /sys (there is none), with hostname, clock and kernel modules, which need capabilities anyway, and
# LimitNOFILE= where this host allows less. What systemd itself does (start order, readiness, watchdog,
# stopping, restarts) is not shown here.
set -euo pipefail

# --- run.sh --confined ROOT UNIT [COMMAND...]: becomes the unit's command, or another in its place --------
of_unit() { # unit, setting: its values, the drop-in's first
    sed -n "s/^$2=//p" "$root/lib/systemd/system/hookline-.service.d/10-hookline.conf" \
        "$root/lib/systemd/system/$1.service"
}

private_devices() {
    local device
    mount -t tmpfs -o mode=755,nosuid,noexec devices "$root/dev"
    for device in null zero full random urandom; do
        : >"$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
}

if [ "$1" = --confined ]; then
    root=$2 unit=$3
    shift 3
    state=$(of_unit "$unit" StateDirectory)
    if [ -n "$state" ]; then
        mount --bind "$root/var/lib/$state" "$root/var/lib/$state"
    fi
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    mount -t tmpfs -o mode=1777 tmp "$root/var/tmp"
    mount -t tmpfs -o mode=000,ro home "$root/home"
    mount -t tmpfs -o mode=000,ro home "$root/root"
    private_devices
    mount -o remount,bind,ro "$root"
    umask "$(of_unit "$unit" UMask)"
    ulimit -c "$(of_unit "$unit" LimitCORE)"
    files=$(of_unit "$unit" LimitNOFILE) most=$(ulimit -H -n)
    [ -z "$files" ] || ulimit -n $((files < most ? files : most))
    mapfile -t environment < <(of_unit "$unit" Environment)
    user=$(of_unit "$unit" User) group=$(of_unit "$unit" Group)
    [ $# -gt 0 ] || read -ra command < <(of_unit "$unit" ExecStart)
    [ $# -eq 0 ] || command=("$@")
    exec chroot "$root" env -i PATH=/usr/bin:/bin LC_ALL=C "${environment[@]}" \
        setpriv --reuid "$user" --regid "$group" --init-groups --inh-caps=-all --ambient-caps=-all \
        --bounding-set=-all --no-new-privs /confine /syscalls "${command[@]}"
fi

# --- the servers ------------------------------------------------------------------------------------------
root=$1 work=$2
# shellcheck source=tests/support/postgres.sh
. tests/support/postgres.sh
fail() {
    echo "FAIL  $*" >&2
    local log
    for log in producer worker migrate; do
        [ ! -e "$work/$log.log" ] || tail -n 15 "$work/$log.log" | cut -c 1-400 | sed "s/^/      $log: /" >&2
    done
    exit 1
}
ok() { echo "ok    $*"; }
await() { # seconds, what, command...
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "waited in vain: $what"
        sleep 0.1
    done
}

postgres() { # always the same port: nobody else is in this network
    setpriv --pdeathsig QUIT "${as_pg[@]:1}" -- "$(pg_config --bindir)/postgres" -D "$work/pg/data" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
        >>"$work/postgres.log" 2>&1 </dev/null &
    pg_pid=$!
    await 30 "PostgreSQL" pg_isready -q -h 127.0.0.1
}
sql() { psql -h 127.0.0.1 -U postgres -qAt "$@"; }

# --- the system calls that the units allow -----------------------------------------------------------------
members() { # names of sets and calls: the calls
    local name
    for name; do
        case $name in
        @*)
            # shellcheck disable=SC2046 # words
            members $(systemd-analyze syscall-filter "$name" | sed -n 's/^    \([@a-z0-9_]\)/\1/p')
            ;;
        *) echo "$name" ;;
        esac
    done
}
allowed_calls() { # line after line as systemd takes them: the first allows, and so does @default
    local line calls
    calls=$(members @default | sort -u)
    while read -r line; do
        # shellcheck disable=SC2086 # words
        case $line in
        '~'*) calls=$(comm -23 <(echo "$calls") <(members ${line#\~} | sort -u)) ;;
        *) calls=$(sort -u <(echo "$calls") <(members $line)) ;;
        esac
    done < <(of_unit hookline-producer SystemCallFilter)
    echo "$calls"
}

confined() { unshare --mount --propagation private "$0" --confined "$root" "$@"; }
ctl() { confined hookline-migrate /usr/bin/hooklinectl --config /etc/hookline/hookline.conf "$@"; }
declare -A pids
start() { # producer or worker; not by the function, which would be one more process
    unshare --mount --propagation private "$0" --confined "$root" "hookline-$1" \
        >>"$work/$1.log" 2>&1 </dev/null &
    pids[$1]=$!
}

restrictions_bite() {
    local status line rc=0
    status=$(confined hookline-worker /usr/bin/cat /proc/self/status)
    for line in 'CapBnd:.0*' 'NoNewPrivs:.1' 'Seccomp:.2'; do
        grep -qx "$line" <<<"$status" || fail "not confined: $status"
    done
    confined hookline-producer /usr/bin/touch /var/lib/hookline/mine || fail "no state directory"
    rm "$root/var/lib/hookline/mine"
    confined hookline-worker /usr/bin/touch /var/lib/hookline/mine 2>/dev/null &&
        fail "the worker can write"
    confined hookline-producer /usr/bin/touch /etc/hookline/mine 2>/dev/null &&
        fail "the producer can write its settings"
    confined hookline-producer /usr/bin/unshare --user true 2>/dev/null || rc=$?
    [ "$rc" -eq 159 ] || fail "a forbidden system call does not kill ($rc)"
    ok "the restrictions are there: no capability, nothing to write to, forbidden system calls kill"
}

migrates() { # two hosts at once
    local one=0 other=0 first second
    confined hookline-migrate >>"$work/migrate.log" 2>&1 &
    first=$!
    confined hookline-migrate >>"$work/migrate.log" 2>&1 &
    second=$!
    wait $first || one=$?
    wait $second || other=$?
    [ "$one/$other" = 0/0 ] || fail "migrations ended with $one and $other"
    ok "hookline-migrate, twice at once"
}

send() { ctl send "$@" >>"$work/send.log" 2>&1 || fail "send: $(tail -n 3 "$work/send.log")"; }
unfinished() { sql -d hookline -c "SELECT count(*) FROM webhook.change_events
    WHERE rescrape_status NOT IN ('completed', 'superseded')"; }
all_done() { # so many events
    [ "$(unfinished)" = 0 ] &&
        [ "$(sql -d hookline -c 'SELECT count(*) FROM webhook.change_events')" = "$1" ]
}
logged() { # program, event
    grep -qF "\"$2\"" "$work/$1.log"
}
no_violation() {
    local found
    found=$(grep -hE 'Bad system call|Operation not permitted|Read-only file system' \
        "$work/producer.log" "$work/worker.log") && fail "what the units forbid was needed: $found"
    return 0
}

ip link set lo up
gcc -std=gnu17 -Wall -Wextra -Werror -O2 -static -o "$root/confine" tests/deb/confine.c -lseccomp
allowed_calls >"$root/syscalls"
pg_init "$work/pg" --no-sync
postgres
sql -c "CREATE ROLE hookline LOGIN" -c "CREATE DATABASE hookline OWNER hookline"
mkdir "$work/redis"
setpriv --pdeathsig TERM redis-server --bind 127.0.0.1 --port 6379 --dir "$work/redis" --appendonly yes \
    --maxmemory-policy noeviction >"$work/redis.log" 2>&1 </dev/null &
await 30 Redis redis-cli ping
"$BUILD/samplepage" >"$work/samplepage.log" &
await 30 "the sample page" grep -q '^http' "$work/samplepage.log"
page=$(grep -m 1 '^http' "$work/samplepage.log")

restrictions_bite
migrates
start producer
start worker
await 60 "the producer is ready" ctl health producer --ready
await 60 "the worker is ready" ctl health worker --ready
send --url "$page" --repeat 200
send --source firecrawl --url "$page" --snapshot '# Hi' --repeat 20
await 60 "200 events are done" all_done 200
ok "200 events and 20 of Firecrawl's go through"

pg_stop INT
send --url "$page" --key spooled
[ -n "$(find "$root/var/lib/hookline/spool" -type f -size +8c -print -quit)" ] || fail "nothing is spooled"
postgres
await 60 "the spooled event is done" all_done 201
ok "an event waits in the spool while PostgreSQL is away"

kill -HUP "${pids[@]}"
for program in producer worker; do
    await 60 "$program has new settings" logged "$program" reload_finished
done
child=$(pgrep -P "${pids[worker]}" | head -n 1)
kill -KILL "$child"
await 60 "its successor works" ctl health worker --ready
send --url "$page" --key afterwards
await 60 "one more event is done" all_done 202
ok "settings are read again, a killed process is replaced"

for program in producer worker; do
    rc=0
    kill -TERM "${pids[$program]}"
    wait "${pids[$program]}" || rc=$?
    [ "$rc" -eq 0 ] || fail "the $program left with $rc"
    logged "$program" grace_too_short && fail "TimeoutStopSec= of the $program is too short"
done
no_violation
ok "both drain; nothing that the units forbid was needed"
