#!/usr/bin/env bash
# Builds the container image: make image. Options of the builder go into its own variables
# (BUILDAH_ISOLATION=chroot, say, where no container can be run) or into BUILD_FLAGS (--no-cache, --pull).
#     IMAGE=hookline:1.2 BASE=debian:bookworm-slim SNAPSHOT=no|yes VERSION=1.2 [BUILDER=buildah] build.sh
# The time of all files is SOURCE_DATE_EPOCH, or that of the last commit. With --no-cache the same sources on
# the same BASE with the same packages give the same layers; from the cache the files may be dated earlier.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

builder=${BUILDER:-}
for candidate in buildah podman docker; do
    [ -n "$builder" ] || ! command -v "$candidate" >/dev/null || builder=$candidate
done
if [ -z "$builder" ]; then
    echo "Building the image needs buildah, podman or docker: deploy/local/deps.sh image installs buildah." >&2
    exit 1
fi

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || revision+=-dirty
arguments=(-f deploy/Dockerfile -t "$IMAGE"
    --build-arg "BASE=$BASE" --build-arg "SNAPSHOT=$SNAPSHOT" --build-arg "SOURCE_DATE_EPOCH=$epoch"
    --label "org.opencontainers.image.version=$VERSION"
    --label "org.opencontainers.image.revision=$revision"
    --label "org.opencontainers.image.created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)")
# HEALTHCHECK exists in Docker's format only.
case $builder in
*docker*) ;;
*) arguments+=(--format docker --layers --timestamp "$epoch") ;;
esac
# shellcheck disable=SC2206 # words
arguments+=(${BUILD_FLAGS-} .)
set -x
$builder build "${arguments[@]}"
