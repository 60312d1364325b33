# shellcheck shell=bash
# Sourced by run.sh, behind deploy.sh: what happens to the pods, each time under load.
: "${W:?}" "${programs:?folder of the built programs}" "${workload[@]:?of each component}" "${most_producers:?}"

readonly rate=100        # events a second
readonly page_ms=1000    # what each page takes: as many jobs as that are in hand at any moment
readonly settle_limit=240 # seconds: a worker may drain for 130, and its successor start after it
results=()

# Open loop: an event is sent when it is due, whatever became of the others. Half of them by connections of
# their own, as from changedetection.io, so that all the time some find their way through the Service; half by
# connections that stay.
start_sender() { # name, option...
    # shellcheck disable=SC2016 # its own $$
    start_in 1 "$1" sh -c 'echo $$ >"$0"; exec "$@"' "$W/$1.pid" "$programs/hooklinectl" \
        --config "$W/settings" bench --json --yes --rate $((rate / 2)) --duration 30m --warmup 0 \
        --site "http://pages.invalid/slow/$page_ms" --to "${intake:?}/api/webhook/changedetection" "${@:2}"
    senders+=($!)
}

begin_load() {
    senders=()
    rm -f "$W/log"/send-*
    start_sender send-fresh --fresh
    start_sender send-kept --connections 16
    sleep 2 # of load before anything happens
}

end_load() {
    local name
    sleep 2 # of load after it
    for name in send-fresh send-kept; do in_node 1 kill -TERM "$(cat "$W/$name.pid")"; done
    wait "${senders[@]}" || true # they were broken off
}

counted() { # by both senders, as one object
    jq -se '{runs: map(.run), sent: map(.sent_all) | add, accepted: map(.accepted_all) | add,
            unsent: map(.unsent) | add, worst_ms: map(.response_ms.max // 0) | max,
            median_ms: map(.response_ms.p50 // 0) | max,
            errors: map(.errors | to_entries) | add | group_by(.key) | map({key: .[0].key, value: map(.value) | add})
        } | .refused = ([.errors[] | select(.key | test("^http_|connect")) | .value] | add // 0)
        | .broken = (.sent - .accepted - .refused)' <(grep -h '^{' "$W"/log/send-*)
}

# Refused: an answer that is no 202, or no connection. Broken: a connection that ended before its answer.
step() { # name, "" or "may break", command...: under load, until all pods are well again
    local name=$1 allowed=$2 result
    shift 2
    say "$name"
    begin_load
    "$@"
    until_true $settle_limit "the pods are well again after: $name" "" settled
    end_load
    [ "$(cat "$W"/log/send-* | grep -c '^{')" -eq ${#senders[@]} ] || die "a sender failed: see $W/log"
    result=$(counted)
    results+=("$(jq -c --arg name "$name" --arg allowed "$allowed" '. + {$name, $allowed}' <<<"$result")")
    say "    $(jq -r '"\(.sent) sent, \(.refused) refused, \(.broken) broken; answers took \(.median_ms) ms (median), \(
        .worst_ms) ms (worst) \(.errors | map("\(.key): \(.value)") | join(", "))"' <<<"$result")"
}

nothing() {
    sleep 5
}

roll() { # component
    kc -n hookline rollout restart "${workload[$1]}" >>"$W/log/steps"
    kc -n hookline rollout status "${workload[$1]}" --timeout=${settle_limit}s >>"$W/log/steps"
}

scale() { # component, replicas
    kc -n hookline scale "${workload[$1]}" --replicas="$2" >>"$W/log/steps"
    kc -n hookline rollout status "${workload[$1]}" --timeout=${settle_limit}s >>"$W/log/steps"
}

scale_both() { # producers (within the autoscaler's bounds), workers
    scale producer "$1"
    scale worker "$2"
}

a_pod() { # component, jsonpath of what is wanted of it
    kc -n hookline get pods -l "app.kubernetes.io/component=$1" -o "jsonpath={.items[0]$2}"
}

delete_by_force() { # component
    kc -n hookline delete pod "$(a_pod "$1" .metadata.name)" --grace-period=0 --force >>"$W/log/steps" 2>&1
}

restarts() { # component
    a_pod "$1" '.status.containerStatuses[0].restartCount'
}

restarted() { # component, number before
    [ "$(restarts "$1")" -gt "$2" ]
}

kill_first_process() { # component; of its container
    local node container before
    node=$(a_pod "$1" .spec.nodeName)
    container=$(a_pod "$1" '.status.containerStatuses[0].containerID')
    before=$(restarts "$1")
    in_node "${node#node}" kill -KILL "$(docker_of "${node#node}" inspect -f '{{.State.Pid}}' "${container#docker://}")"
    until_true 60 "the container of $1 starts again" "" restarted "$1" "$before"
}

drain() { # number of a node
    kc drain "node$1" --delete-emptydir-data --timeout=${settle_limit}s >>"$W/log/steps" 2>&1 ||
        die "node $1 cannot be drained: $(tail -n 5 "$W/log/steps")"
    until_true $settle_limit "the pods are well on the other node" "" settled
    kc uncordon "node$1" >>"$W/log/steps"
}

all_steps() {
    step "nothing" "" nothing
    step "producers rolled" "" roll producer
    step "workers rolled" "" roll worker
    step "both scaled up" "" scale_both "$most_producers" 4
    step "both scaled down to 2" "" scale_both 2 2
    step "worker deleted by force" "" delete_by_force worker
    step "worker: kill -9" "" kill_first_process worker
    step "node 1 drained" "" drain 1
    step "node 2 drained" "" drain 2
    # Whoever kills a producer breaks what it is about to answer; such senders send again.
    step "producer deleted by force" "may break" delete_by_force producer
    step "producer: kill -9" "may break" kill_first_process producer
}

# --- the verdict --------------------------------------------------------------------------------------------
fault() {
    faults+=("$*")
}

rows() { # condition; of the events of $runs
    sql "SELECT count(*) FROM webhook.change_events WHERE watch_id = ANY ('{$runs}') AND $1"
}

table() {
    local line name allowed sent accepted refused broken unsent runs completed
    printf '\n%-26s %9s %9s %9s %9s %10s %8s\n' step requests accepted refused broken completed again
    for line in "${results[@]}"; do
        IFS='|' read -r name allowed sent accepted refused broken unsent runs < <(jq -r '[.name, .allowed, .sent,
            .accepted, .refused, .broken, .unsent, (.runs | join(","))] | map(tostring) | join("|")' <<<"$line")
        completed=$(rows "rescrape_status IN ('completed', 'superseded')")
        printf '%-26s %9d %9d %9d %9d %10d %8d\n' "$name" "$sent" "$accepted" "$refused" "$broken" "$completed" \
            "$(rows 'claim_epoch > 1')"
        [ "$completed" -ge "$accepted" ] || fault "$name: $accepted events were accepted, $completed are completed"
        [ -n "$allowed" ] || [ $((refused + broken + unsent)) -eq 0 ] ||
            fault "$name: $refused requests were refused, $broken broken, $unsent not sent in time"
    done
    printf 'again: jobs that were begun more than once\n'
}

verdict() {
    local audit charged accepted
    faults=()
    say "Waiting until all is done; the audit"
    audit=$(ctl audit --wait=4m --receipts "$W/receipts" --json 2>"$W/log/audit") ||
        fault "the audit is not clean: $(jq -c 'del(.discrepancies)' <<<"$audit") $(tail -n 3 "$W/log/audit")"
    table
    accepted=$(printf '%s\n' "${results[@]}" | jq -s 'map(.accepted) | add')
    [ "$(jq '.receipts.events' <<<"$audit")" -ge "$accepted" ] ||
        fault "there are fewer receipts than the $accepted events that were answered 202"
    charged=$(sql "SELECT count(*) FROM webhook.change_events WHERE attempts > 0")
    [ "$charged" = 0 ] || fault "$charged events were charged an attempt"
    printf '\naudit: %s\nattempts charged: %s\n' \
        "$(jq -c '{receipts, events: (.events | with_entries(select(.value > 0))), wrong}' <<<"$audit")" "$charged"
    [ ${#faults[@]} -eq 0 ] || {
        printf 'FAULT: %s\n' "${faults[@]}"
        return 1
    }
}
