# shellcheck shell=bash
# Sourced by run.sh, with $W (a folder of its own) and $KUBE_BIN: a Kubernetes of two nodes on one machine.
# A node is a network, a tree of mounts and a tree of processes that one process holds; when that ends,
# so does all that is in it, and nothing stays but the node's cgroups, which cluster_down removes.
# Everything runs in node 1 but the second node's dockerd, kubelet and kube-proxy.
: "${W:?}" "${KUBE_BIN:?}" "${here:?this folder}" "${cni:?folder of the CNI plugins}"

readonly node_ip=10.99.0 pod_net=10.98 # of node N: 10.99.0.N, 10.98.N.0/24
readonly start_deadline=120
holders=()

node_init() { # number: the first process of it
    local holder=${holders[$1]} children
    read -r children <"/proc/$holder/task/$holder/children" || [ -n "$children" ]
    echo "${children%% *}"
}

in_node() { # number, command...
    local node=$1
    shift
    nsenter --target "$(node_init "$node")" --mount --net --pid -- "$@"
}

start_in() { # number, name, command...: in the background; its log is log/NAME
    local node=$1 name=$2
    shift 2
    nsenter --target "$(node_init "$node")" --mount --net --pid -- "$@" >"$W/log/$name" 2>&1 </dev/null &
}

kc() { # kubectl, as the cluster's administrator
    in_node 1 kubectl --kubeconfig "$W/pki/admin.conf" "$@"
}

docker_of() { # number, command...
    DOCKER_HOST=unix://$W/node$1/docker.sock docker "${@:2}"
}

until_true() { # seconds, what, log that tells more, command...
    local end=$((SECONDS + $1)) what=$2 log=$3
    shift 3
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $end ]; then
            [ ! -f "$log" ] || tail -n 15 "$log" | sed 's/^/    /' >&2
            die "$what: not after waiting for it ($*)"
        fi
        sleep 0.2
    done
}

# --- namespaces, cgroups ---------------------------------------------------------------------------------
cgroup_of() { # number
    echo "hookline-test-$$-$1"
}

cgroup_folders() {
    findmnt -rno TARGET -t cgroup,cgroup2
}

make_cgroup() { # name; a new cpuset may run nowhere until it is told
    local top file
    for top in $(cgroup_folders); do
        mkdir "$top/$1"
        for file in cpuset.cpus cpuset.mems; do
            [ ! -f "$top/$file" ] || cat "$top/$file" >"$top/$1/$file"
        done
    done
}

remove_cgroup() { # name
    local top
    for top in $(cgroup_folders); do
        [ ! -d "$top/$1" ] || find "$top/$1" -depth -type d -exec rmdir {} + || true
    done
}

# What is written outside of $W by dockerd, kubelet and their helpers goes into the node's memory; also the
# settings of the kernel that a kubelet changes, which are the machine's.
make_node() { # number
    setpriv --pdeathsig KILL -- unshare --net --mount --pid --fork --kill-child --mount-proc -- \
        "$W/pause/pause" 2>"$W/log/node$1" &
    holders[$1]=$!
    until_true 10 "node $1" "" in_node "$1" true
    # shellcheck disable=SC2016 # its own $d, $s
    in_node "$1" sh -ec 'for d in /var/lib /var/log /run; do mount -t tmpfs tmpfs $d; done
        for d in /etc /usr; do
            mkdir -p "/run/over$d/upper" "/run/over$d/work"
            mount -t overlay -o "lowerdir=$d,upperdir=/run/over$d/upper,workdir=/run/over$d/work" overlay $d
        done
        for s in kernel/panic kernel/panic_on_oops vm/overcommit_memory vm/panic_on_oom; do
            install -D "/proc/sys/$s" "/run/sys/$s"
            mount --bind "/run/sys/$s" "/proc/sys/$s"
        done
        mount --make-rshared /; ip link set lo up; sysctl -qw net.ipv4.ip_forward=1'
    make_cgroup "$(cgroup_of "$1")"
}

join_networks() {
    local n other
    ip link add eth0 netns "$(node_init 1)" type veth peer name eth0 netns "$(node_init 2)"
    for n in 1 2; do
        other=$((3 - n))
        in_node $n sh -ec "ip addr add $node_ip.$n/24 dev eth0; ip link set eth0 up
            ip route add default via $node_ip.$other; ip route add $pod_net.$other.0/24 via $node_ip.$other"
    done
}

# --- certificates -------------------------------------------------------------------------------------------
issue() { # name, subject, alternative names
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" ${3:+-addext "subjectAltName=$3"}
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 2 -copy_extensions copy
}

make_pki() {
    local config=(kubectl config --kubeconfig admin.conf)
    cd "$W/pki" || return
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=hookline-test
    issue api /CN=kube-apiserver "DNS:kubernetes.default.svc,IP:10.96.0.1,IP:127.0.0.1,IP:$node_ip.1"
    issue admin /O=system:masters/CN=admin
    openssl genrsa -out accounts.key 2048
    "${config[@]}" set-cluster test --server="https://$node_ip.1:16443" --certificate-authority="$PWD/ca.crt"
    "${config[@]}" set-credentials admin --client-certificate="$PWD/admin.crt" --client-key="$PWD/admin.key"
    "${config[@]}" set-context test --cluster test --user admin
    "${config[@]}" use-context test
}

# --- the control plane, the nodes ---------------------------------------------------------------------------
start_control_plane() {
    local etcd=http://127.0.0.1:12379 peer=http://127.0.0.1:12380 pki=$W/pki
    start_in 1 etcd etcd --data-dir "$W/etcd" --listen-client-urls $etcd --advertise-client-urls $etcd \
        --listen-peer-urls $peer --unsafe-no-fsync
    start_in 1 api "$KUBE_BIN/kube-apiserver" --etcd-servers $etcd --bind-address 0.0.0.0 \
        --advertise-address $node_ip.1 --secure-port 16443 --insecure-port 0 \
        --tls-cert-file "$pki/api.crt" --tls-private-key-file "$pki/api.key" --client-ca-file "$pki/ca.crt" \
        --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/accounts.key" \
        --service-account-signing-key-file "$pki/accounts.key" --kubelet-client-certificate "$pki/admin.crt" \
        --kubelet-client-key "$pki/admin.key" --kubelet-preferred-address-types InternalIP
    until_true $start_deadline "the API server" "$W/log/api" kc get --raw /readyz
    start_in 1 controllers "$KUBE_BIN/kube-controller-manager" --kubeconfig "$pki/admin.conf" \
        --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/accounts.key" \
        --leader-elect=false --bind-address 127.0.0.1
    start_in 1 scheduler "$KUBE_BIN/kube-scheduler" --kubeconfig "$pki/admin.conf" --leader-elect=false \
        --bind-address 127.0.0.1
}

start_dockerd() { # number
    local home=$W/node$1
    mkdir -p "$home"
    start_in "$1" "dockerd$1" dockerd --data-root "$home/docker" --exec-root "$home/exec" -p "$home/docker.pid" \
        -H "unix://$home/docker.sock" --iptables=false --ip6tables=false --bridge=none \
        --cgroup-parent "/$(cgroup_of "$1")" --add-runtime "plain=$here/runc-plain" --default-runtime plain
    until_true $start_deadline "dockerd of node $1" "$W/log/dockerd$1" docker_of "$1" info
    tar -C "$W/pause" -c pause | docker_of "$1" import -c 'ENTRYPOINT ["/pause"]' - hookline-test/pause:1 >/dev/null
}

start_node() { # number
    local home=$W/node$1
    start_in "$1" "kubelet$1" "$KUBE_BIN/kubelet" --kubeconfig "$W/pki/admin.conf" --container-runtime docker \
        --docker-endpoint "unix://$home/docker.sock" --cgroup-driver cgroupfs --cgroup-root "/$(cgroup_of "$1")" \
        --fail-swap-on=false --root-dir "$home/kubelet" --cert-dir "$home/pki" --volume-plugin-dir "$home/plugins" \
        --pod-infra-container-image hookline-test/pause:1 --network-plugin kubenet --cni-bin-dir "$cni" \
        --pod-cidr "$pod_net.$1.0/24" --node-ip "$node_ip.$1" --hostname-override "node$1" --oom-score-adj 0 \
        --eviction-hard '' --image-gc-high-threshold 100 --enforce-node-allocatable '' \
        --authentication-token-webhook=false --anonymous-auth=true --authorization-mode AlwaysAllow
    start_in "$1" "proxy$1" "$KUBE_BIN/kube-proxy" --kubeconfig "$W/pki/admin.conf" --proxy-mode iptables \
        --cluster-cidr "$pod_net.0.0/16" --oom-score-adj 0 --conntrack-max-per-core 0 --hostname-override "node$1"
}

node_ready() { # number
    [ "$(kc get node "node$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
}

cluster_up() {
    local n
    mkdir -p "$W"/{log,pki,pause}
    gcc -static -O2 -o "$W/pause/pause" "$here/pause.c"
    (make_pki) >"$W/log/pki" 2>&1 || die "the certificates cannot be made: $(tail -n 3 "$W/log/pki")"
    for n in 1 2; do make_node $n; done
    join_networks
    start_control_plane
    for n in 1 2; do start_dockerd $n; done
    for n in 1 2; do start_node $n; done
    for n in 1 2; do until_true $start_deadline "node $n" "$W/log/kubelet$n" node_ready $n; done
}

cluster_down() {
    local n
    for n in "${!holders[@]}"; do
        # The kernel ends all others with the first process, and the holder waits for it.
        kill -KILL "$(node_init "$n")" 2>/dev/null || true
        wait "${holders[n]}" 2>/dev/null || true
    done
    for n in "${!holders[@]}"; do
        remove_cgroup "$(cgroup_of "$n")"
    done
}
