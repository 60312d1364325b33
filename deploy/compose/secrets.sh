#!/bin/sh
# Makes the secrets of deploy/compose.yaml that are not there yet, each in a file of deploy/compose/secrets/.
# To change one, write its file (and its part in the URLs), and start the services again that use it.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
# Compose mounts each file as it is into containers that run as users of their own. They may read it; on this
# host nobody can who cannot enter the folder.
chmod 700 secrets
cd secrets

random() {
    od -An -vtx1 -N32 /dev/urandom | tr -d ' \n'
}

make() { # name, value
    [ ! -e "$1" ] || return 0
    printf '%s' "$2" >"$1.new"
    chmod 444 "$1.new"
    mv "$1.new" "$1"
    echo "made deploy/compose/secrets/$1"
}

for name in webhook_secret intake_token api_secret api_secret_readonly \
    postgres_password redis_password grafana_password; do
    make "$name" "$(random)"
done
make redis_users "user default on >$(cat redis_password) ~* &* +@all
"
make redis_url "redis://:$(cat redis_password)@redis:6379"
make database_url "postgresql://hookline:$(cat postgres_password)@postgres/hookline"
