#!/usr/bin/env bash
# Documents and programs agree on the settings: every WEBHOOK_ or OTEL_ name that README.md, other documents or
# deploy/ mention is a row of the configuration table (a NAME_FILE twin counts as its NAME), and every
# row of the table is read by a program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
table=common/base/config_table.h

mapfile -t documents < <(find . -maxdepth 1 -name '*.md' | sort && find deploy -type f | sort)
bad=0
known() { # the table names it, as a whole word
    grep -qE "\"([^\"]* )?${1}[ \"]" "$table"
}

while read -r name; do
    if ! known "$name" && ! known "${name%_FILE}"; then
        echo "$name is no setting ($table), but is mentioned in:"
        grep -lw "$name" "${documents[@]}" | sed 's/^/    /'
        bad=1
    fi
done < <(grep -hoE '\b(WEBHOOK|OTEL)_[A-Z0-9]+(_[A-Z0-9]+)*\b' "${documents[@]}" | sort -u)
while read -r field; do
    if ! grep -rqE "(->|\.)$field\b" common producer worker --include='*.c'; then
        echo "$field ($table) is read by no program"
        bad=1
    fi
done < <(sed -n 's/^ROW(\([a-z0-9_]*\),.*/\1/p' "$table")
exit $bad
