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

for tool in kubectl node npm; do
    command -v "$tool" >/dev/null || skip "manifests-check needs $tool ('deploy/local/deps.sh manifests')"
done
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
