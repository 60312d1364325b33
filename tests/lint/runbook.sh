#!/usr/bin/env bash
# What deploy/RUNBOOK.md and deploy/CUTOVER.md tell people to type and to look for exists: each verb, action
# and option of hooklinectl, each event of the log, and each section that they or README.md lead to. (Alerts
# and metrics: test_prometheus.)
# shellcheck disable=SC2016 # backticks here are those of the documents
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly documents=(deploy/RUNBOOK.md deploy/CUTOVER.md)
readonly ctl=${BUILD:-build}/hooklinectl
bad=0

complain() { # document, text
    echo "$1: $2"
    bad=1
}

# One a line: what follows "hooklinectl ", up to what ends a command in a text or in a shell.
commands() {
    grep -oE '(\$ |`|&& |^ +)hooklinectl [^`#|;&>)]+' "$1" | sed -E 's/^.*hooklinectl //; s/ +$//' | sort -u
}

check_command() { # document, command
    local words verb help word
    read -ra words <<<"$2"
    verb=${words[0]}
    [[ $verb =~ ^[a-z-]+$ && $verb != --* ]] || return 0
    help=$("$ctl" "$verb" --help 2>/dev/null) || {
        complain "$1" "hooklinectl has no verb '$verb' ($2)"
        return 0
    }
    if grep -q '^Actions:' <<<"$help" && [[ ${words[1]-} =~ ^[a-z]+$ ]]; then
        help=$("$ctl" "$verb" "${words[1]}" --help 2>/dev/null) ||
            complain "$1" "hooklinectl $verb has no action '${words[1]}'"
    fi
    for word in "${words[@]}"; do
        [[ $word == --* ]] || continue
        word=${word%%[=,.]*}
        grep -qE -- "^  $word( |\[|\$)" <<<"$help" || complain "$1" "no option $word: hooklinectl $2"
    done
}

# Words in backticks, of two parts and more, that are no metric, label of one, or of PostgreSQL.
named() {
    grep -oE '`[a-z]+(_[a-z]+)+`' "$1" | tr -d '`' | grep -vE '^(hookline|pg)_' | sort -u
}

is_known() { # a line of the log, the value of a metric's label, or a name of the database
    grep -qF "| \`$1\` |" PROTOCOL.md || grep -qF "\"$1\"" common/base/meter_table.h ||
        grep -qwrF -- "$1" sql tests/support/reference
}

anchors() { # document: of its headings, as GitHub makes them
    sed -n 's/^##* //p' "$1" | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

check_links() { # document that has links into this one, as it names it; this one
    local anchor
    while read -r anchor; do
        anchors "$3" | grep -qxF -- "$anchor" || complain "$1" "$3 has no section #$anchor"
    done < <(grep -oE "\]\($2#[a-z0-9_-]+" "$1" | sed 's/.*#//' | sort -u)
}

[ -x "$ctl" ] || complain "$ctl" "not built"
for document in "${documents[@]}"; do
    while read -r command; do check_command "$document" "$command"; done < <(commands "$document")
    while read -r name; do
        is_known "$name" || complain "$document" "\`$name\` is no event of the log, label or name of the database"
    done < <(named "$document")
    check_links "$document" "" "$document"
    check_links README.md "$document" "$document"
done
check_links deploy/RUNBOOK.md CUTOVER.md deploy/CUTOVER.md
check_links deploy/CUTOVER.md RUNBOOK.md deploy/RUNBOOK.md
exit $bad
