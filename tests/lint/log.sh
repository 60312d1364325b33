#!/usr/bin/env bash
# PROTOCOL.md, "Log", lists the event name of every line that the programs log, and no other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
document=PROTOCOL.md

sources() {
    find common producer worker -path worker/ctl -prune -o -name '*.c' -print | sort
}

# The first string of a call, and the one behind " : ". Of functions that are told which name to log
# there is a list: tell (metrics.c), abort_child (prefork.c), emit and
# emit_line (log.c).
in_code() {
    sources | xargs cat | tr '\n' ' ' |
        grep -oE '\b(log_(debug|info|warn|error)\(|(LOG_LINE|tell|abort_child|emit|emit_line)\([^",;]*,)[^",;]*"[a-z0-9_]+"( *: *"[a-z0-9_]+")?' |
        grep -oE '"[a-z0-9_]+"' | tr -d '"' | sort -u
}

in_document() {
    awk -F '`' '/^## / { on = $0 == "## Log" } on && /^\| `[a-z0-9_]+` \|/ { print $2 }' "$document" | sort -u
}

undocumented=$(comm -23 <(in_code) <(in_document))
gone=$(comm -13 <(in_code) <(in_document))
[ -z "$undocumented" ] || echo "logged, but not in $document, \"Log\": ${undocumented//$'\n'/, }"
[ -z "$gone" ] || echo "in $document, \"Log\", but not logged: ${gone//$'\n'/, }"
[ -z "$undocumented$gone" ]
