#!/usr/bin/env bash
# The include arrows of ARCHITECTURE.md: base <- io <- domain <- programs; programs never include each
# other. Every file's quoted includes must come from the folders that its own folder may see.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

may_see() { # folder of a file: pattern of what it may include
    case $1 in
    common/base) echo 'base/' ;;
    common/io) echo '(base|io)/' ;;
    common/domain) echo '(base|io|domain)/' ;;
    producer) echo '(base|io|domain|producer)/' ;;
    worker) echo '(base|io|domain)/|worker/[^/]*$' ;;
    worker/ctl) echo '(base|io|domain|worker/ctl)/' ;;
    deploy/local) echo '(base|io|domain)/' ;;
    deploy/man) echo '(base|worker/ctl)/' ;;
    *) echo 'nothing: a folder that tests/lint/layers.sh does not know' ;;
    esac
}

bad=0
while IFS=: read -r file line text; do
    included=$(sed -E 's/^[^"]*"([^"]*)".*/\1/' <<<"$text")
    allowed=$(may_see "$(dirname "$file")")
    if ! grep -qE "^($allowed)" <<<"$included"; then
        echo "$file:$line: includes \"$included\"; $(dirname "$file") may include $allowed"
        bad=1
    fi
done < <(find common producer worker deploy -name '*.[ch]' \
    -exec grep -nH -E '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' {} + 2>/dev/null)
exit $bad
