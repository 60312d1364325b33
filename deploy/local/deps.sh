#!/usr/bin/env bash
# Installs the Debian packages that Hookline needs, and only those that are missing.
#     deps.sh build   to build the programs
#     deps.sh run     to run them on this machine, too, with a PostgreSQL and a Redis of their own
#     deps.sh test    to run the tests
#     deps.sh browser to run those of the dashboard
#     deps.sh dev     to lint, format and measure coverage
#     deps.sh image   to build the container image and try it
#     deps.sh kubernetes   to try it on a Kubernetes of this machine
#     deps.sh deb     to build the Debian package and test it
# With apt-get, through sudo when not root. Where there is no apt-get it only says what is missing.
set -euo pipefail

libevent_min=2.1.12-stable-8+deb12u1 # before it, a closed connection could leave a dangling event

# package, then what proves that it is there in some other way: a pkg-config module or a program
build_deps='gcc gcc
make make
libc6-dev -
pkg-config pkg-config
libevent-dev libevent_core
libhiredis-dev hiredis
libpq-dev libpq
libmsgpack-dev msgpack
libcurl4-openssl-dev libcurl
libjansson-dev jansson
libxml2-dev libxml-2.0
libssl-dev libcrypto
libzstd-dev libzstd
libjs-dygraphs -
ca-certificates -'
run_deps="$build_deps
postgresql postgres
redis-server redis-server
procps ps
util-linux setpriv"
test_deps='libcriterion-dev criterion
apprise apprise
iproute2 ip
libfaketime -
openssl openssl
pgbouncer pgbouncer
prometheus promtool
mandoc mandoc
zsh zsh'
# Only for the tests of the dashboard, which are skipped without: not every relative of Debian has them.
browser_deps='chromium chromium
chromium-driver chromedriver'
dev_deps='clang clang
clang-format clang-format
clang-tidy clang-tidy
gcovr gcovr
libseccomp-dev libseccomp
shellcheck shellcheck'
image_deps='buildah buildah
podman podman
runc runc
conmon conmon
jq jq
dnsmasq-base dnsmasq
openssl openssl
iproute2 ip'
kubernetes_deps='etcd-server etcd
docker.io dockerd
runc runc
conntrack conntrack
socat socat
containernetworking-plugins -
jq jq
openssl openssl
iproute2 ip'
deb_deps='debhelper dh
dpkg-dev dpkg-buildpackage
libseccomp-dev libseccomp
lintian lintian
mmdebstrap mmdebstrap
systemd systemd-analyze'

case ${1-} in
build) wanted=$build_deps ;;
run) wanted=$run_deps ;;
test) wanted=$test_deps ;;
browser) wanted=$browser_deps ;;
dev) wanted=$dev_deps ;;
image) wanted=$image_deps ;;
kubernetes) wanted=$kubernetes_deps ;;
deb) wanted=$deb_deps ;;
*)
    echo "usage: deps.sh build|run|test|browser|dev|image|kubernetes|deb" >&2
    exit 2
    ;;
esac

installed() { # package
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

have_postgres() { # the server, of any version, where libpq says servers live
    local dir
    dir=$(pg_config --bindir 2>/dev/null) && [ -x "$dir/postgres" ]
}

provided() { # package, proof
    case $2 in
    -) installed "$1" ;;
    postgres) have_postgres ;;
    *) installed "$1" || command -v "$2" >/dev/null || pkg-config --exists "$2" 2>/dev/null ;;
    esac
}

missing_of() { # prints the packages that are not there
    local package proof
    while read -r package proof; do
        provided "$package" "$proof" || echo "$package"
    done <<<"$wanted"
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    absent=$(missing_of | grep -vx libc6-dev || true)
    [ -z "$absent" ] && exit 0
    echo "make deps works on Debian and its relatives only: there is no apt-get here." >&2
    echo "Please install what these Debian packages hold, then run make again:" >&2
    # shellcheck disable=SC2086 # one word each
    printf '  %s\n' $absent >&2
    exit 1
fi

mapfile -t missing < <(missing_of)
if [[ $1 == build || $1 == run ]] && installed libevent-core-2.1-7; then
    version=$(dpkg-query -W -f='${Version}' libevent-core-2.1-7)
    dpkg --compare-versions "$version" ge "$libevent_min" || missing+=(libevent-dev libevent-core-2.1-7)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "These packages are missing, and installing them needs root (there is no sudo). As root:" >&2
        echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get install -y -q --no-install-recommends "${missing[@]}")
"${install[@]}" </dev/null || {
    "${as_root[@]}" apt-get update -q </dev/null
    "${install[@]}" </dev/null
}
