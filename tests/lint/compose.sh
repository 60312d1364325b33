#!/usr/bin/env bash
# deploy/compose.yaml and deploy/Dockerfile agree with the rest: files they take exist, secrets are made by
# deploy/compose/secrets.sh, images have versions, ours that of the Makefile. With docker compose at hand it
# must accept the file, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
compose=deploy/compose.yaml
bad=0

complain() {
    echo "$*"
    bad=1
}

# What is mounted (./file:/path), and the files of secrets (file: ./compose/secrets/name).
while read -r file; do
    [ -f "deploy/$file" ] || complain "$compose mounts $file, which is not there"
done < <(sed -nE 's/^ *- "?\.\/([^:]+):.*/\1/p' "$compose")
while read -r name; do
    grep -qE "(make |[ ])$name( |;|\$)" deploy/compose/secrets.sh ||
        complain "deploy/compose/secrets.sh does not make $name, which $compose wants"
done < <(sed -nE 's/.*file: \.\/compose\/secrets\/([a-z_]+).*/\1/p' "$compose")

while read -r image; do
    case $image in
    *@sha256:* | *:*[0-9].[0-9]*) ;;
    *) complain "$compose: the image $image has no version" ;;
    esac
done < <(sed -nE 's/^ *image: (.*)/\1/p' "$compose")
version=$(sed -nE 's/^VERSION +:= +//p' Makefile)
grep -q "hookline:$version}" "$compose" || complain "$compose: our image is not of version $version"

# What is copied from here is there, and .dockerignore lets it through.
while read -r path; do
    [ -e "$path" ] || complain "deploy/Dockerfile copies $path, which is not there"
    grep -qxF "!$path" .dockerignore || complain ".dockerignore keeps $path from deploy/Dockerfile"
done < <(sed -nE '/--from/d; s/^COPY (.*) [^ ]+$/\1/p' deploy/Dockerfile | tr ' ' '\n' |
    sed 's|^deploy/local/$|deploy/local/deps.sh|')

! command -v promtool >/dev/null ||
    said=$(promtool check config --syntax-only deploy/compose/prometheus.yml 2>&1) || complain "$said"

engine=()
if docker compose version >/dev/null 2>&1; then
    engine=(docker compose)
elif command -v docker-compose >/dev/null; then
    engine=(docker-compose)
fi
if [ ${#engine[@]} -gt 0 ]; then
    profiles=$(sed -nE 's/.*profiles: \[(.*)\]/\1/p' "$compose" | tr -d ' ' | tr ',' '\n' | sort -u | paste -sd,)
    said=$(COMPOSE_PROFILES=$profiles "${engine[@]}" -f "$compose" config 2>&1 >/dev/null) ||
        complain "${engine[*]} does not accept $compose: $said"
fi
exit $bad
