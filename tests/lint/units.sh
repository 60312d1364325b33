#!/usr/bin/env bash
# The systemd units: systemd-analyze finds nothing wrong with them, their exposure stays low, and what the
# programs are told about the time they have to stop is what systemd gives them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly exposure=15 # tenths; systemd calls it OK below 5.0
folder=$PWD/deploy/systemd

bad=0
for unit in "$folder"/*.service; do
    stop=$(sed -n 's/^TimeoutStopSec=//p' "$unit")
    told=$(sed -n 's/^Environment=WEBHOOK_TERMINATION_GRACE=//p' "$unit")
    if [ "$stop" != "$told" ]; then
        echo "${unit##*/}: TimeoutStopSec=$stop, but WEBHOOK_TERMINATION_GRACE=$told"
        bad=1
    fi
done

command -v systemd-analyze >/dev/null || {
    echo "systemd-analyze is missing: the units are not checked any further" >&2
    exit $bad
}
export SYSTEMD_LOG_LEVEL=warning
copy=$(mktemp -d "${TMPDIR:-/tmp}/hookline-units-XXXXXX")
trap 'rm -rf "$copy"' EXIT
cp -r "$folder"/. "$copy"
programs=$(realpath "${BUILD:-build}")
sed -i "s,^\(ExecStart=\)/usr/bin/,\1$programs/," "$copy"/*.service # they need not be installed
output=$(systemd-analyze verify --man=no "$copy"/*.service 2>&1) || bad=1
if [ -n "$output" ]; then
    echo "$output"
    bad=1
fi
for unit in "$copy"/*.service; do
    output=$(systemd-analyze security --offline=true --no-pager --threshold=$exposure "$unit" 2>&1) || {
        bad=1
        echo "${unit##*/} is exposed by more than $exposure tenths:"
        grep -E '^✗|Overall' <<<"$output" || echo "$output"
    }
done
exit $bad
