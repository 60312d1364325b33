# shellcheck shell=bash
# Sourced by run.sh, behind cluster.sh: the image on both nodes, the manifests as this Kubernetes knows them.
: "${W:?}" "${here:?this folder}" "${programs:?folder of the built programs}" "${node_ip:?}" "${start_deadline:?}"

declare -rA workload=([producer]=statefulset/hookline-producer [worker]=deployment/hookline-worker)
readonly most_producers=3 # the autoscaler's maximum
# What needs a controller that is not in this cluster.
readonly foreign_kinds='ScaledObject|TriggerAuthentication|ServiceMonitor|PodMonitor|PrometheusRule'

without_kinds() { # extended regular expression
    awk -v kinds="^kind: ($1)\$" 'function flush() { if (doc != "" && !drop) printf "---\n%s", doc; doc = ""; drop = 0 }
        /^---$/ { flush(); next } $0 ~ kinds { drop = 1 } { doc = doc $0 "\n" } END { flush() }'
}

# Of Kubernetes 1.20: the same objects under the names that they had then.
render() {
    kubectl kustomize "$here/overlay" | without_kinds "$foreign_kinds" |
        sed -e "s|path: RECEIPTS\$|path: $W/receipts|" \
            -e 's|^apiVersion: policy/v1$|apiVersion: policy/v1beta1|' \
            -e 's|^apiVersion: autoscaling/v2$|apiVersion: autoscaling/v2beta2|' \
            -e '/^ *unhealthyPodEvictionPolicy: /d' >"$W/manifests.yaml"
    image=$(sed -n 's/^ *image: //p' "$W/manifests.yaml" | sort -u)
    [ "$(wc -l <<<"$image")" -eq 1 ] || die "the manifests name more than one image: $image"
}

load_image() { # archive
    local n loaded
    for n in 1 2; do
        loaded=$(docker_of $n load -q -i "$1" | sed -n 's/^Loaded image\( ID\)\?: //p' | head -n 1)
        [ -n "$loaded" ] || die "$1 holds no image"
        docker_of $n tag "$loaded" "$image"
    done
}

random_secret() {
    od -An -N32 -v -tx1 /dev/urandom | tr -d ' \n'
}

make_settings() { # hooklinectl's, and the Secret that the manifests name
    local secret token database redis=redis://$node_ip.1:6379
    secret=$(random_secret) token=$(random_secret) database=$(cat "$W/database")
    printf 'WEBHOOK_%s\n' "SECRET=$secret" "DATABASE_URL=$database" "REDIS_URL=$redis" \
        "QUEUE_PREFIX=hookline" >"$W/settings"
    kc create secret generic hookline -n hookline --from-literal=database-url="$database" \
        --from-literal=migrate-database-url="$database" --from-literal=redis-url="$redis" \
        --from-literal=webhook-secret="$secret" --from-literal=intake-token="$token" \
        --from-literal=api-secret="$(random_secret)" --from-literal=api-secret-readonly="$(random_secret)" \
        --from-literal=firecrawl-api-key=none >"$W/log/secret"
}

keep_logs() { # of the pods, before they are gone
    local pod
    [ -f "$W/settings" ] || return 0
    kc -n hookline get pods -o wide >"$W/log/pods" 2>&1 || return 0
    kc -n hookline describe pods >>"$W/log/pods" 2>&1 || true
    for pod in $(kc -n hookline get pods -o name); do
        kc -n hookline logs "$pod" --all-containers --tail=2000 >"$W/log/${pod#pod/}.pod" 2>&1 || true
    done
}

ctl() { # hooklinectl
    in_node 1 "$programs/hooklinectl" --config "$W/settings" "$@"
}

sql() { # statement
    in_node 1 psql -X -q -A -t -d "$(cat "$W/database")" -c "$1"
}

replicas_of() { # component
    kc -n hookline get "${workload[$1]}" -o 'jsonpath={.spec.replicas}'
}

two_producers() {
    [ "$(replicas_of producer)" -eq 2 ]
}

# As many pods as wanted, all ready, none of those before left.
settled_one() { # component
    local pods ready
    pods=$(kc -n hookline get pods -l "app.kubernetes.io/component=$1" \
        -o 'jsonpath={range .items[*]}{.metadata.name}{" "}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}')
    ready=$(grep -c ' True$' <<<"$pods") || true
    [ "$ready" -gt 0 ] && [ "$ready" -eq "$(wc -l <<<"$pods")" ] && [ "$ready" -eq "$(replicas_of "$1")" ]
}

settled() {
    settled_one producer && settled_one worker
}

# For the spools: in place of a cluster's storage, of a kind that follows a pod to any node.
make_volumes() {
    local n
    for ((n = 1; n <= most_producers; n++)); do
        install -d -o 10001 -g 10001 -m 700 "$W/volumes/$n"
        printf -- '---\n{apiVersion: v1, kind: PersistentVolume, metadata: {name: spool-%d}, spec: {capacity: {storage: 1Gi},
            accessModes: [ReadWriteOnce], hostPath: {path: %s, type: Directory}}}\n' "$n" "$W/volumes/$n"
    done >"$W/volumes.yaml"
    kc apply -f "$W/volumes.yaml" >"$W/log/volumes"
}

deploy() {
    install -d -o 10001 -g 10001 -m 700 "$W/receipts"
    start_in 1 stores env W="$W" BUILD="$programs" "$here/stores.sh" "$node_ip.1" 10.0.0.0/8
    until_true "$start_deadline" "PostgreSQL and Redis" "$W/log/stores" test -f "$W/database"
    kc create namespace hookline >"$W/log/namespace"
    make_settings
    make_volumes
    kc apply -f "$W/manifests.yaml" >"$W/log/apply" 2>&1 || die "the manifests are refused: $(cat "$W/log/apply")"
    until_true "$start_deadline" "the migration" "$W/log/apply" \
        kc -n hookline wait --for=condition=complete job -l app.kubernetes.io/component=migrate --timeout=1s
    until_true 60 "the autoscaler's minimum of producers" "$W/log/controllers" two_producers
    until_true 180 "all pods" "$W/log/apply" settled
    # shellcheck disable=SC2034 # for steps.sh
    intake=http://$(kc -n hookline get service hookline-producer -o 'jsonpath={.spec.clusterIP}')
}
