#!/usr/bin/env bash
# What a scrape of /metrics takes from 16 producers under full load, and what it takes from them: see usage.
# BUILD: folder of the built programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
BUILD=${BUILD:-build}
rounds=7 seconds=5 processes=16 connections=64

usage() {
    cat <<EOF
Usage: scrape.sh [--rounds N] [--seconds N] [--processes N] [--connections N]

Producers with PostgreSQL and Redis of their own are given as many webhooks as they take (wrk), in rounds
with and without a scrape of /metrics each second, in turn. For each of two producers, one with a port
for monitoring and one that answers /metrics on its own, it prints:
  webhooks/s      without and with scrapes, medians, and the median of the ratios of neighbouring rounds
  scrape ms       what the scraper (curl) waited, median and worst; it takes its turn at once (nice), as
                  one on another machine would
  and for the port for monitoring, by the kernel's clock of that process (/proc/PID/schedstat):
  processor ms    of one scrape, all told; share: of all processors, with a scrape a second
  queued ms       how long it waited for a processor in that time

  --rounds N        of each kind (default $rounds)
  --seconds N       of each round (default $seconds)
  --processes N     of each producer (default $processes)
  --connections N   that send webhooks (default $connections)
EOF
}

while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --rounds | --seconds | --processes | --connections)
        [[ ${2-} =~ ^[1-9][0-9]{0,3}$ ]] || { echo "scrape.sh: $1 needs a number" >&2; exit 64; }
        declare "${1#--}=$2"
        shift 2
        ;;
    *) echo "scrape.sh: unknown option $1; --help lists them" >&2; exit 64 ;;
    esac
done
for tool in wrk curl; do
    command -v $tool >/dev/null || { echo "scrape.sh: $tool is missing: apt-get install $tool" >&2; exit 69; }
done

# shellcheck source=tests/bench/stack.sh
. tests/bench/stack.sh
export WEBHOOK_PRODUCERS=$processes WEBHOOK_ADMIN_HOST=127.0.0.1 WEBHOOK_POOL_SIZE=1 WEBHOOK_MAX_OVERFLOW=0
export WEBHOOK_INTAKE_TOKEN=a-token-that-is-long-enough-for-everyone
export WEBHOOK_API_SECRET=another-secret-that-is-long-enough-for-all
cat >"$folder/load.lua" <<'EOF'
local serial, id, threads = 0, 0, 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
function request()
    serial = serial + 1
    return wrk.format("POST", "/api/webhook/changedetection", {
        ["Content-Type"] = "application/json",
        ["Authorization"] = "Bearer " .. os.getenv("WEBHOOK_INTAKE_TOKEN"),
    }, string.format('{"watch_id":"bench","watch_url":"http://page.test/%d/%d/%d",' ..
        '"detected_at":"2026-11-23T10:00:00Z","snapshot":"%s"}', os.time(), id, serial, ("x"):rep(800)))
end
EOF

load() { # PORT: webhooks a second
    wrk -t1 -c"$connections" -d"${seconds}s" -s "$folder/load.lua" "http://127.0.0.1:$1" >"$folder/wrk" || return
    if grep -q "Non-2xx" "$folder/wrk"; then cat "$folder/wrk" >&2; fi
    awk '/^Requests\/sec/ { print $2 }' "$folder/wrk"
}

scrape() { # PORT FILE: milliseconds, one a line, once a second until it is ended
    trap 'exit 0' TERM
    local begun
    while :; do
        begun=${EPOCHREALTIME/./}
        nice -n -20 curl -sS -o /dev/null -w '%{http_code} %{time_total}\n' \
            -H "Authorization: Bearer $WEBHOOK_API_SECRET" "http://127.0.0.1:$1/metrics" 2>>"$folder/nice.log" |
            awk '$1 == 200 { printf "%.3f\n", $2 * 1000 }' >>"$2"
        sleep "$(awk -v us=$((1000000 - ${EPOCHREALTIME/./} + begun)) 'BEGIN { print (us > 0 ? us / 1e6 : 0) }')"
    done
}

median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
worst() { sort -n | tail -n 1; }

clock_of() { # PID: milliseconds on a processor, milliseconds that it waited for one
    awk '{ print $1 / 1e6, $2 / 1e6 }' "/proc/$1/schedstat"
}

child_of() { # PID EVENT-ROLE: of that producer, by its log
    sed -n 's/.*"child_started".*"role":"'"$2"'".*"child":\([0-9]*\).*/\1/p' "$1" | tail -n 1
}

measure() { # NAME PORT SCRAPED-PORT ADMIN-PID
    local with without scraper before after
    : >"$folder/ratios"; : >"$folder/ms"; : >"$folder/with"; : >"$folder/without"; : >"$folder/own"
    load "$2" >/dev/null # warm
    for ((i = 0; i < rounds; i++)); do
        for ((k = 0; k < 2; k++)); do
            if (((i + k) % 2)); then
                [ -z "$4" ] || before=$(clock_of "$4") n=$(wc -l <"$folder/ms")
                scrape "$3" "$folder/ms" &
                scraper=$!
                with=$(load "$2")
                kill "$scraper"
                wait "$scraper" || true
                [ -z "$4" ] || { after=$(clock_of "$4") && echo "$before $after $n $(wc -l <"$folder/ms")" >>"$folder/own"; }
            else
                without=$(load "$2")
            fi
        done
        echo "$with" >>"$folder/with"
        echo "$without" >>"$folder/without"
        awk -v a="$with" -v b="$without" 'BEGIN { print a / b }' >>"$folder/ratios"
    done
    printf '%s\n  webhooks/s    without %.0f   with %.0f   ratio %.4f   rounds:%s\n' "$1" \
        "$(median <"$folder/without")" "$(median <"$folder/with")" "$(median <"$folder/ratios")" \
        "$(awk '{ printf " %.3f", $1 }' "$folder/ratios")"
    printf '  scrape ms     median %.2f   worst %.2f   of %d\n' "$(median <"$folder/ms")" \
        "$(worst <"$folder/ms")" "$(wc -l <"$folder/ms")"
    [ -z "$4" ] || awk -v cpus="$(nproc)" '{ cpu += $3 - $1; queued += $4 - $2; n += $6 - $5 } END {
        printf "  processor ms  %.2f   share %.4f %%   queued ms  %.2f\n",
            cpu / n, cpu / n / 10 / cpus, queued / n }' "$folder/own"
}

produce $((base + 1)) WEBHOOK_PRODUCER_ADMIN_PORT=$((base + 3))
wait_for $((base + 3)) "the port for monitoring"
measure "a port for monitoring (WEBHOOK_PRODUCER_ADMIN_PORT)" $((base + 1)) $((base + 3)) \
    "$(child_of "$folder/producer-$((base + 1)).log" admin)"
kill "${started[1]}"
wait "${started[1]}" || true
unset 'started[1]'
produce $((base + 2))
measure "the producer's own port" $((base + 2)) $((base + 2)) ""
