#!/usr/bin/env bash
# What Hookline needs besides Kubernetes, at an address that pods reach: PostgreSQL, Redis, the stand-in
# Firecrawl, each a process of node 1. Ends with the node.
#     W=FOLDER BUILD=FOLDER stores.sh ADDRESS CLIENTS     CLIENTS: the network they may come from
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/support/postgres.sh
. tests/support/postgres.sh
address=$1 clients=$2

pg_init "$W/postgres" --no-sync
echo "host all all $clients trust" >>"$W/postgres/data/pg_hba.conf"
# A kill of a pod is no loss of power: fsync would show nothing here.
pg_launch "$W/postgres" "listen_addresses=127.0.0.1,$address" fsync=off max_connections=200
psql -q "$pg_server/postgres" -c "CREATE DATABASE hookline"

mkdir "$W/redis"
redis-server --bind "$address" --port 6379 --protected-mode no --dir "$W/redis" --save '' --appendonly yes \
    --maxmemory-policy noeviction >"$W/log/redis" &
"$BUILD/tests/firecrawl" --port 3003 >"$W/log/firecrawl" &
socat "TCP-LISTEN:3002,bind=$address,fork,reuseaddr" TCP:127.0.0.1:3003 &
until [ "$(redis-cli -h "$address" ping 2>/dev/null)" = PONG ] && (exec 3<>/dev/tcp/127.0.0.1/3003) 2>/dev/null; do
    sleep 0.1
done
echo "postgresql://postgres@$address:${pg_server##*:}/hookline" >"$W/database.new"
mv "$W/database.new" "$W/database" # this is read as: all of it answers
wait
