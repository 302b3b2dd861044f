#!/usr/bin/env bash
# Makes the Debian source package, builds the packages from it without a network, installs them into a
# directory and uses them there.
#
#   test/debian.sh DIRECTORY        for the packages; what was in it is lost
#
# The modules of other authors go into vendor/ of the source package, from the module cache of Go.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
mkdir -p "$1"
output=$(realpath "$1")
version=$("$source/build.sh" version)
tree=$output/libloop-$version
root=$output/root

die() {
    echo "debian.sh: $*" >&2
    exit 1
}

# make_source: what git knows, or would, and the modules that the library is built from.
make_source() {
    [[ $(dpkg-parsechangelog -l "$source/debian/changelog" -S Version) == "$version"-* ]] ||
        die "debian/changelog has another version than include/loop.h"
    mkdir "$tree"
    (cd "$source" && git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null |
        tar -cf - --no-recursion -T -) | tar -xf - -C "$tree"
    (cd "$tree" && GOFLAGS=-mod=mod go mod vendor)
    tar -C "$output" --exclude="libloop-$version/debian" --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="$(dpkg-parsechangelog -l "$source/debian/changelog" -S Date)" \
        -czf "$output/libloop_$version.orig.tar.gz" "libloop-$version"
}

# build_packages: offline, with the Go in the PATH, which need not be Debian's; python3-libloop if there is
# what it is made from.
build_packages() {
    local profiles=pkg.libloop.ownGo
    [[ -d $tree/python/src/libloop ]] || profiles+=,nopython
    (cd "$tree" && GOPROXY=off dpkg-buildpackage -us -uc "-P$profiles") >"$output/build.log" 2>&1 || {
        tail -n 60 "$output/build.log"
        die "dpkg-buildpackage failed"
    }
    lintian --fail-on error "$output"/*.changes
}

# install_packages: into $root, with dpkg; nothing of what they depend on is there, or needed.
install_packages() {
    mkdir -p "$root/var/lib/dpkg"/{info,updates,triggers}
    touch "$root/var/lib/dpkg/status"
    dpkg --root="$root" --force-depends --force-not-root --log="$output/dpkg.log" \
        -i "$output"/lib*.deb >"$output/install.log" 2>&1 || {
        cat "$output/install.log"
        die "dpkg --install failed"
    }
}

# check_contents: what is where, and whether the description of the ABI holds.
check_contents() {
    local libdir depends file
    libdir=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
    for file in "$libdir"/{"libloop.so.$version",libloop.a,pkgconfig/libloop.pc,cmake/loop/loopConfig.cmake} \
        usr/include/loop.h usr/share/man/man3/loop_read.3.gz usr/share/doc/libloop0/copyright \
        usr/share/doc/libloop-dev/examples_c/echo_server.c; do
        [[ -s $root/$file ]] || die "$file is not installed"
    done
    depends=$(dpkg-deb -f "$output"/libloop-dev_*.deb Depends)
    [[ $depends == *"libloop0 (= $version-"* ]] || die "libloop-dev depends on $depends"
    [[ $(readelf -S "$root/$libdir/libloop.so.$version") != *.debug_info* ]] ||
        die "the library is not stripped"
    [[ $(find "$root/usr/lib/debug" -name '*.debug' -size +500k) ]] || die "libloop0-dbgsym has no symbols"
}

# try_python: the package beside, because its scripts want a Python below the root.
try_python() {
    local packages=("$output"/python3-libloop_*.deb)
    [[ -e ${packages[0]} ]] || return 0
    dpkg-deb -x "${packages[0]}" "$output/python"
    LD_LIBRARY_PATH=$root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH) \
        PYTHONPATH=$output/python/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 \
        python3 -c 'import libloop; loop = libloop.Loop(); loop.run(); loop.close(); print("ok: Python")'
    rm -rf "$output/python"
}

rm -rf "${output:?}"/*
make_source
build_packages
install_packages
check_contents
"$tree/debian/tests/hello" "$root/usr"
try_python
mapfile -t names < <(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package}\n')
dpkg --root="$root" --force-depends --purge "${names[@]}" >/dev/null
left=$(find "$root" -path "$root/var" -prune -o -name '*loop*' -print)
[[ ! $left ]] || die "left after the purge: $left"
for package in "$output"/*.deb; do
    echo "${package##*/}: $(stat -c %s "$package") bytes"
done
rm -rf "$tree" "$root"
