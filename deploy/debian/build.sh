#!/usr/bin/env bash
# Builds the Debian package of this source tree into $BUILD/deb/, by way of `make deb`. VERSION is that of
# the Makefile. The same tree gives the same bytes: the date is that of the last commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(realpath -m "${BUILD:-build}")/deb
source=$out/source/hookline

for tool in dpkg-buildpackage dh; do
    command -v "$tool" >/dev/null || {
        echo "make deb needs $tool: 'deploy/local/deps.sh deb' installs it." >&2
        exit 1
    }
done
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null ||
    stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH LC_ALL=C

files() { # what belongs to the source; NUL after each
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard
    else
        find . \( -name build -o -name .run \) -prune -o -type f -print0
    fi
}

rm -rf "$out"
mkdir -p "$source"
files | tar --create --null --ignore-failed-read --mtime="@$SOURCE_DATE_EPOCH" \
    --mode=u=rwX,go=rX --files-from=- | tar --extract --preserve-permissions --directory="$source"
cp -a "$source/deploy/debian" "$source/debian"
rm "$source/debian/build.sh"
cat >"$source/debian/changelog" <<END
hookline (${VERSION:?}) unstable; urgency=medium

  * Release $VERSION; what is new in it is in CHANGELOG.md of the source.

 -- $(sed -n 's/^Maintainer: //p' deploy/debian/control)  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
if ! (cd "$source" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL dpkg-buildpackage --build=binary --no-sign --jobs="$(nproc)") >"$out/build.log" 2>&1; then
    tail -n 40 "$out/build.log" >&2
    exit 1
fi
mv "$out"/source/*.deb "$out"
rm -rf "$out/source"
ls "$out"/*.deb
