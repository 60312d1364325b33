#!/usr/bin/env bash
# make test-deb: the package in a fresh Debian, from its first installation to its purging, with a real run
# in between under what its units would allow it. No systemd runs here: the units are checked by
# systemd-analyze, and their restrictions are made by hand (see confined below) from the same files.
# Everything lives in namespaces of its own and in one folder, and is gone with this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
BUILD=$(realpath -m "${BUILD:-build}")
export BUILD
deb=$BUILD/deb/hookline_${VERSION:?}_$(dpkg --print-architecture 2>/dev/null).deb

fail() {
    echo "FAIL  $*" >&2
    exit 1
}
ok() { echo "ok    $*"; }

# --- outside: is everything there? ---------------------------------------------------------------------
if [ -z "${HOOKLINE_TEST_DEB-}" ]; then
    skip() {
        echo "skip  test-deb: $*"
        exit 0
    }
    [ "$(id -u)" -eq 0 ] || skip "it makes a Debian of its own, and needs root for that"
    for tool in mmdebstrap unshare setpriv systemd-analyze redis-server redis-cli pg_config psql ip; do
        command -v "$tool" >/dev/null || skip "$tool is missing ('make deps deps-test' and \
'deploy/local/deps.sh deb' install what it needs)"
    done
    pkg-config --exists libseccomp || skip "libseccomp-dev is missing ('deploy/local/deps.sh deb')"
    unshare --mount --pid --net --fork true 2>/dev/null || skip "this root may not make namespaces"
    [ -e "$deb" ] || fail "$deb is not there: run make deb"
    work=$(mktemp -d "${TMPDIR:-/tmp}/hookline-deb-XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    chmod 711 "$work"
    HOOKLINE_TEST_DEB=$work unshare --mount --pid --fork --kill-child --mount-proc "$0"
    exit
fi

# --- inside: mounts and processes end with this script ---------------------------------------------------
work=$HOOKLINE_TEST_DEB
root=$work/root

in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }
apt() {
    in_root DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" \
        >"$work/apt.log" 2>&1 || {
        cat "$work/apt.log" >&2
        fail "apt-get $*"
    }
}
is() { # path in the chroot, "mode owner:group"
    local found
    found=$(in_root stat -c '%a %U:%G' "$1") || fail "$1 is not there"
    [ "$found" = "$2" ] || fail "$1 is $found, and should be $2"
}
gone() {
    local path
    for path; do
        if [ -e "$root$path" ] || [ -L "$root$path" ]; then fail "$path is still there"; fi
    done
}

make_debian() { # as this host's own, from where its apt gets it
    local release
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016 # apt's words
    apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT) $(ORIGIN)' \
        'Created-By: Packages' | awk -v r="$release" 'index($2, r) == 1 && $3 == "main" &&
            $4 == "Debian" { print "deb", $1, $2, $3 }' | sort -u >"$work/sources.list"
    mmdebstrap --quiet --mode=root --variant=minbase "$release" "$root" "$work/sources.list" \
        >"$work/debootstrap.log" 2>&1 || {
        tail "$work/debootstrap.log" >&2
        fail "mmdebstrap makes no Debian here"
    }
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mount --bind "$root" "$root"
    mount -t proc -o hidepid=invisible proc "$root/proc"
    apt update
    ok "a fresh Debian $release"
}

older_package() { # the same with another number and another sample configuration
    dpkg-deb -R "$deb" "$work/older"
    sed -i 's/^Version: .*/Version: 0.0.1/' "$work/older/DEBIAN/control"
    echo '# of an older release' >>"$work/older/etc/hookline/hookline.conf"
    (cd "$work/older" && find . -path ./DEBIAN -prune -o -type f ! -path './etc/*' -printf '%P\0' |
        xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group -b "$work/older" "$root/older.deb" >/dev/null
    rm -rf "$work/older"
    cp "$deb" "$root/new.deb"
}

installs() {
    apt install ./older.deb
    in_root dpkg -V hookline || fail "files are not as the package has them"
    in_root getent passwd hookline | grep -q ':/var/lib/hookline:/usr/sbin/nologin$' ||
        fail "user hookline: $(in_root getent passwd hookline)"
    is /etc/hookline/hookline.conf '640 root:hookline'
    is /var/lib/hookline '750 hookline:hookline'
    local program
    for program in hookline-producer hookline-worker hooklinectl; do
        [ "$(in_root "$program" --version)" = "$program $VERSION" ] || fail "$program does not start"
        compgen -G "$root/usr/share/man/man?/$program.?.gz" >/dev/null || fail "no manual of $program"
    done
    [ -e "$root/usr/share/man/man5/hookline.conf.5.gz" ] || fail "no manual of hookline.conf"
    in_root bash -n /usr/share/bash-completion/completions/hooklinectl
    grep -q '^#compdef hooklinectl' "$root/usr/share/zsh/vendor-completions/_hooklinectl" ||
        fail "zsh's completion has no #compdef"
    gone /etc/systemd/system/multi-user.target.wants/hookline-producer.service
    ok "installs: user, folders, modes, manuals, completion; nothing is enabled"
}

units_are_right() {
    local output
    output=$(in_root systemd-analyze verify --man=no hookline-producer.service \
        hookline-worker.service hookline-migrate.service 2>&1) || fail "units: $output"
    [ -z "$output" ] || fail "units: $output"
    in_root systemctl enable hookline-producer hookline-worker 2>/dev/null
    [ -L "$root/etc/systemd/system/multi-user.target.wants/hookline-worker.service" ] ||
        fail "hookline-worker cannot be enabled"
    ok "units: systemd-analyze verify finds nothing; they can be enabled"
}

configure() {
    cat >"$root/etc/hookline/hookline.conf" <<END
# written by the owner
WEBHOOK_DATABASE_URL=postgresql://hookline@127.0.0.1:5432/hookline
WEBHOOK_REDIS_URL=redis://127.0.0.1:6379
WEBHOOK_SECRET_FILE=/etc/hookline/secret
WEBHOOK_SCRAPER=direct
WEBHOOK_DIRECT_ALLOW_PRIVATE=true
WEBHOOK_RECEIPTS_DIR=/var/lib/hookline/receipts
WEBHOOK_PRODUCERS=2
WEBHOOK_WORKERS=2
END
    (umask 027 && openssl rand -hex 32 >"$root/etc/hookline/secret")
    in_root chgrp hookline /etc/hookline/secret
    cp "$root/etc/hookline/hookline.conf" "$work/hookline.conf"
}

upgrades() {
    apt install ./new.deb
    in_root dpkg -s hookline | grep -qx "Version: $VERSION" || fail "not upgraded"
    in_root dpkg -V hookline | grep -v ' c /etc/hookline/hookline.conf$' && fail "dpkg -V"
    cmp "$work/hookline.conf" "$root/etc/hookline/hookline.conf" || fail "the configuration changed"
    [ -e "$root/etc/hookline/hookline.conf.dpkg-dist" ] || fail "the new sample is not beside it"
    is /etc/hookline/hookline.conf '640 root:hookline'
    [ -L "$root/etc/systemd/system/multi-user.target.wants/hookline-worker.service" ] ||
        fail "the upgrade disabled hookline-worker"
    ok "upgrades: a changed configuration and what was enabled stay"
}

reinstalls() {
    apt remove hookline
    gone /usr/bin/hookline-producer /lib/systemd/system/hookline-worker.service
    cmp "$work/hookline.conf" "$root/etc/hookline/hookline.conf" || fail "the configuration changed"
    [ -n "$(find "$root/var/lib/hookline/receipts" -type f -print -quit)" ] || fail "receipts are gone"
    ok "is removed: settings and data stay"
    apt install ./new.deb
    cmp "$work/hookline.conf" "$root/etc/hookline/hookline.conf" || fail "the configuration changed"
    is /etc/hookline/hookline.conf '640 root:hookline'
    ok "is installed again over them"
}

purges() {
    local segment=/var/lib/hookline/elsewhere/events.crawl
    in_root install -d -o hookline -g hookline -m 700 /var/lib/hookline/elsewhere
    echo 'HKSPOOL1 and an event' >"$root$segment"
    apt purge hookline
    [ -e "$root$segment" ] || fail "an event in the spool was lost"
    grep -q 'holds events that are nowhere else' "$work/apt.log" || fail "nobody said why it stays"
    gone /etc/hookline/hookline.conf /etc/systemd/system/multi-user.target.wants/hookline-worker.service
    ok "is purged: settings go, events in the spool stay"
    printf HKSPOOL1 >"$root$segment"
    apt install ./new.deb
    is /etc/hookline/hookline.conf '640 root:hookline'
    apt purge hookline
    gone /etc/hookline/hookline.conf /var/lib/hookline
    in_root getent passwd hookline >/dev/null || fail "the user is gone"
    ok "is purged with an empty spool: nothing is left but the user"
}

make_debian
older_package
installs
units_are_right
configure
upgrades
rm "$root/etc/hookline/hookline.conf.dpkg-dist"
unshare --net tests/deb/run.sh "$root" "$work" || fail "the run"
reinstalls
rm "$root/etc/hookline/secret"
purges
echo "test-deb: all good"
