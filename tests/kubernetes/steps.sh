# shellcheck shell=bash
# Sourced by run.sh, behind deploy.sh: what happens to the pods, each time under load.
: "${W:?}" "${programs:?folder of the built programs}"

readonly rate=100        # events a second
readonly page_ms=1000    # what each page takes: as many jobs as that are in hand at any moment
readonly settle_limit=240 # seconds: a worker may drain for 130, and its successor start after it
results=()

# The sender is open loop: it sends when an event is due, whatever became of the others.
begin_load() { # step
    # shellcheck disable=SC2016 # its own $$
    start_in 1 "send-$1" sh -c 'echo $$ >"$0"; exec "$@"' "$W/sender.pid" "$programs/hooklinectl" \
        --config "$W/env" bench --json --yes --rate $rate --duration 30m --warmup 0 --connections 64 \
        --site "http://pages.invalid/slow/$page_ms" --to "${intake:?}/api/webhook/changedetection"
    sender=$!
    sleep 2 # of load before anything happens
}

end_load() { # step, what is allowed to break: "" or "broken"
    local answer sent accepted refused broken
    sleep 2 # of load after it
    in_node 1 kill -TERM "$(cat "$W/sender.pid")"
    wait "$sender" || true # it was broken off
    answer=$(grep '^{' "$W/log/send-$1") || die "the sender failed: $(tail -n 3 "$W/log/send-$1")"
    sent=$(jq .sent_all <<<"$answer") accepted=$(jq .accepted_all <<<"$answer")
    refused=$(jq '[.errors | to_entries[] | select(.key | test("^http_|connect")) | .value] | add // 0' <<<"$answer")
    broken=$((sent - accepted - refused))
    results+=("$1|$(jq -r .run <<<"$answer")|$sent|$accepted|$refused|$broken|$2|$(jq .unsent <<<"$answer")")
    say "  $sent sent, $accepted accepted, $refused refused, $broken broken; answers took" \
        "$(jq -r '"\(.response_ms.p50) ms (median), \(.response_ms.max) ms (worst)"' <<<"$answer")"
    [ "$(jq .unsent <<<"$answer")" -eq 0 ] || say "  $(jq .unsent <<<"$answer") could not be sent in time"
}

step() { # name, "" or "broken", command...: under load, until all pods are well again
    local name=$1 allowed=$2
    shift 2
    say "$name"
    begin_load "$name"
    "$@"
    until_true $settle_limit "the pods are well again after: $name" "" settled
    end_load "$name" "$allowed"
}

nothing() {
    sleep 5
}

roll() { # component
    kc -n hookline rollout restart deployment "hookline-$1" >>"$W/log/steps"
    kc -n hookline rollout status deployment "hookline-$1" --timeout=${settle_limit}s >>"$W/log/steps"
}

# Not before the Deployment has heard of it would `settled` mean anything.
scale() { # component, replicas
    kc -n hookline scale deployment "hookline-$1" --replicas="$2" >>"$W/log/steps"
    kc -n hookline rollout status deployment "hookline-$1" --timeout=${settle_limit}s >>"$W/log/steps"
}

scale_both() { # replicas
    scale producer "$1"
    scale worker "$1"
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
    step "both scaled up to 4" "" scale_both 4
    step "both scaled down to 2" "" scale_both 2
    step "worker deleted by force" "" delete_by_force worker
    step "worker: kill -9" "" kill_first_process worker
    step "node 1 drained" "" drain 1
    step "node 2 drained" "" drain 2
    # Whoever kills a producer breaks what it is about to answer; such senders send again.
    step "producer deleted by force" broken delete_by_force producer
    step "producer: kill -9" broken kill_first_process producer
}

# --- the verdict --------------------------------------------------------------------------------------------
fault() {
    faults+=("$*")
}

completed_of() { # run
    sql "SELECT count(*) FROM webhook.change_events WHERE watch_id = '$1' AND rescrape_status IN ('completed', 'superseded')"
}

table() {
    local line name run sent accepted refused broken allowed unsent completed
    printf '\n%-28s %9s %9s %9s %9s %10s\n' step requests accepted refused broken completed
    for line in "${results[@]}"; do
        IFS='|' read -r name run sent accepted refused broken allowed unsent <<<"$line"
        completed=$(completed_of "$run")
        printf '%-28s %9d %9d %9d %9d %10d\n' "$name" "$sent" "$accepted" "$refused" "$broken" "$completed"
        [ "$completed" -ge "$accepted" ] || fault "$name: $accepted events were accepted, $completed are completed"
        [ -n "$allowed" ] || [ $((refused + broken + unsent)) -eq 0 ] ||
            fault "$name: $refused requests were refused, $broken broken, $unsent not sent in time"
    done
}

verdict() {
    local audit charged
    faults=()
    say "Waiting until all is done; the audit"
    audit=$(ctl audit --wait=4m --receipts "$W/receipts" --json 2>"$W/log/audit") ||
        fault "the audit is not clean: $(jq -c 'del(.discrepancies)' <<<"$audit") $(tail -n 3 "$W/log/audit")"
    table
    charged=$(sql "SELECT count(*) FROM webhook.change_events WHERE attempts > 0")
    [ "$charged" = 0 ] || fault "$charged events were charged an attempt"
    printf '\naudit: %s\nattempts charged: %s\n' \
        "$(jq -c '{receipts, events: (.events | with_entries(select(.value > 0))), wrong}' <<<"$audit")" "$charged"
    [ ${#faults[@]} -eq 0 ] || {
        printf 'FAULT: %s\n' "${faults[@]}"
        return 1
    }
}
