#!/bin/sh
# Runs in the build stage of deploy/Dockerfile: puts what the programs need into FOLDER, the root of the
# image, with its licences, and the empty spool into /spool-of-image.
#     SOURCE_DATE_EPOCH=N gather.sh FOLDER
set -eu
umask 022
root=$1
programs='build/hookline-producer build/hookline-worker build/hooklinectl'

# What ldd does not tell of: glibc loads encodings (of web pages) and the UTF-8 locale by name. Its resolver
# (files, dns) is within libc itself since 2.34. The licences are what the packages' own notices refer to.
gconv=$(dirname "$(find /usr/lib -path '*/gconv/gconv-modules.cache')")
loaded="$gconv /usr/lib/locale/C.utf8 /usr/share/common-licenses"
# For TLS: what curl reads, and OpenSSL's settings with the path where libpq's OpenSSL looks for them.
tls='/etc/ssl/certs/ca-certificates.crt /etc/ssl/openssl.cnf /usr/lib/ssl/openssl.cnf'

libraries() { # real place in /usr of each library of each program, and of the loader
    # shellcheck disable=SC2086 # one word each
    ldd $programs | grep -oE '/[^ :]+\.so[^ ]*' | sort -u
}

carry() { # path: the same path in the image, below /usr where the base has links to there
    folder=$(realpath "$(dirname "$1")")
    mkdir -p "$root$folder"
    cp -a "$folder/$(basename "$1")" "$root$folder/"
}

packages() { # Debian packages that own what is in the image
    find "$root" -type f -printf '/%P\n' | while read -r file; do
        dpkg-query -S "$file" 2>/dev/null || dpkg-query -S "${file#/usr}" 2>/dev/null || true
    done | cut -d: -f1 | sort -u
    echo ca-certificates # its bundle is made at installation, and owned by nobody
}

mkdir -p "$root/usr/bin" "$root/etc" "$root/var/lib/dpkg/status.d" "$root/usr/share/doc/hookline"
for link in lib lib64; do
    [ ! -L "/$link" ] || cp -a "/$link" "$root/"
done
for path in $(libraries) $loaded $tls; do
    carry "$path"
    [ ! -L "$path" ] || [ ! -f "$path" ] || carry "$(realpath "$path")"
done

# A package's status as in Debian's own images without dpkg: scanners know from it what is inside.
for package in $(packages); do
    dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
    mkdir -p "$root/usr/share/doc/$package"
    cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
done

# shellcheck disable=SC2086
install -s -m 755 $programs "$root/usr/bin"
install -m 644 LICENSE "$root/usr/share/doc/hookline/copyright"
printf 'root:x:0:0:root:/:/nonexistent\nhookline:x:10001:10001:Hookline:/:/nonexistent\n' >"$root/etc/passwd"
printf 'root:x:0:\nhookline:x:10001:\n' >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"

mkdir -p /spool-of-image/spool
chmod 700 /spool-of-image/spool
find "$root" /spool-of-image -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
