#!/usr/bin/env bash
# make manifests-check; see check.mjs. The packages are fetched once, into build/manifests.
#     run.sh             fails when they cannot be fetched
#     run.sh --or-skip   says so and is content
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=tests/manifests
home=${BUILD:-build}/manifests

skip() {
    echo "skipped: $1"
    exit 0
}

needs="manifests-check needs kubectl 1.27, node 20.11 and npm, or later ones"
for tool in kubectl node npm; do
    command -v "$tool" >/dev/null || skip "$needs; there is no $tool"
done
kubectl version --client 2>/dev/null | grep -q '^Kustomize Version: v[5-9]' || skip "$needs; kubectl is older"
[ "$(node -p process.versions.node | cut -d. -f1)" -ge 20 ] || skip "$needs; node is older"
mkdir -p "$home"
if ! cmp -s "$here/package-lock.json" "$home/installed"; then
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$home"
    if ! (cd "$home" && npm ci --loglevel=error >npm.log 2>&1); then
        [ "${1-}" != --or-skip ] || skip "manifests-check cannot fetch its npm packages (see $home/npm.log)"
        cat "$home/npm.log" >&2
        exit 1
    fi
    cp "$here/package-lock.json" "$home/installed"
fi
cp "$here"/*.mjs "$home" # beside the packages that they import
exec node "$home/check.mjs" "${BUILD:-build}/hooklinectl"
