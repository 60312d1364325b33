#!/usr/bin/env bash
# make test-kubernetes KUBE_BIN=FOLDER: Hookline on a real Kubernetes of two nodes, rolled, scaled, killed and
# drained under load. Ten minutes; root. CONTRIBUTING.md says where the programs of Kubernetes come from.
#     KUBE_BIN   folder of kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy 1.20
#     IMAGE      the image, which docker, podman or buildah has; or IMAGE_TAR, a file that `docker save` wrote
#     BUILD      folder of the built programs (sender, auditor, stand-in Firecrawl)
#     HOOKLINE_TEST_KEEP=1  keeps the folder of logs
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly here=$PWD/tests/kubernetes

say() {
    printf '%s  %s\n' "$(date +%T)" "$*"
}

die() {
    printf 'test-kubernetes: %s\n' "$*" >&2
    exit 1
}

if [ -z "${KUBE_BIN-}" ]; then
    echo "Skipped: KUBE_BIN names no folder of Kubernetes' programs (CONTRIBUTING.md, \"On a real Kubernetes\")."
    exit 0
fi

# --- what must be there ---------------------------------------------------------------------------------------
missing=()
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    [ -x "$KUBE_BIN/$program" ] || missing+=("$program")
done
[ ${#missing[@]} -eq 0 ] || die "there is no ${missing[*]} in KUBE_BIN=$KUBE_BIN"
KUBE_BIN=$(realpath "$KUBE_BIN")
version=$("$KUBE_BIN/kubelet" --version)
[[ $version == *" v1.20."* ]] ||
    die "KUBE_BIN holds $version: this needs 1.20, whose kubelet brings its own network and talks to dockerd"
[ "$(id -u)" -eq 0 ] || die "namespaces and containers need root"
for program in etcd dockerd docker runc conntrack socat jq ip kubectl redis-server psql openssl gcc; do
    command -v "$program" >/dev/null || missing+=("$program")
done
cni=$(dirname "$(find /usr/lib/cni /opt/cni/bin -name host-local 2>/dev/null | head -n 1)")
[ "$cni" != . ] || missing+=("CNI plugins (host-local)")
[ ${#missing[@]} -eq 0 ] || die "missing: ${missing[*]} (deploy/local/deps.sh kubernetes installs all but kubectl)"
programs=$(realpath "${BUILD:-build}")

save_image() { # file; from whoever has it
    { podman image exists "${IMAGE:?}" && podman save -q --format docker-archive -o "$1" "${IMAGE:?}"; } ||
        buildah push -q "${IMAGE:?}" "docker-archive:$1:${IMAGE:?}" || docker save -o "$1" "${IMAGE:?}"
}

# --- the story ----------------------------------------------------------------------------------------------
W=$(mktemp -d "${TMPDIR:-/tmp}/hookline-kubernetes-XXXXXX")
chmod 711 "$W" # PostgreSQL runs as another user
export HOME=$W # kubectl keeps what it finds out there
readonly W programs cni

# shellcheck source=tests/kubernetes/cluster.sh
. "$here/cluster.sh"
# shellcheck source=tests/kubernetes/deploy.sh
. "$here/deploy.sh"
# shellcheck source=tests/kubernetes/steps.sh
. "$here/steps.sh"

leave() {
    local rc=$? keep=${HOOKLINE_TEST_KEEP-}
    trap - EXIT
    trap '' INT TERM HUP
    [ "$rc" -eq 0 ] || keep=1
    [ -z "$keep" ] || keep_logs
    cluster_down
    if [ -n "$keep" ]; then
        find "$W" -mindepth 1 -maxdepth 1 ! -name log ! -name manifests.yaml -exec rm -rf {} +
        say "The logs are in $W"
    else
        rm -rf "$W"
    fi
    exit "$rc"
}
trap leave EXIT
trap 'say "line $LINENO of ${BASH_SOURCE[0]} failed: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT
trap 'exit 143' TERM HUP

render
mkdir "$W/log"
if [ -z "${IMAGE_TAR-}" ]; then
    IMAGE_TAR=$W/image.tar
    save_image "$IMAGE_TAR" >"$W/log/image" 2>&1 ||
        die "there is no image ${IMAGE:?}: make image builds it; or IMAGE_TAR=FILE, as docker save writes it"
fi
say "Starting Kubernetes (${version#Kubernetes }), two nodes"
cluster_up
say "Loading the image"
load_image "$IMAGE_TAR"
say "Deploying"
deploy
all_steps
verdict
say "No accepted event was lost; no request was refused but where a producer was killed by force."
