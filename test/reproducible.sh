#!/usr/bin/env bash
# The same sources give the same bytes: built in two directories, of which one has a longer name, a space in
# it and files of another date, with caches of their own, all that is installed is identical.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# build_in DIRECTORY: of the standard library the objects in the usual cache will do; it is the same for both.
build_in() {
    mkdir -p "$1"
    cp -r "$source"/{build.sh,go.mod,go.sum,include,capi,loop} "$1"
    find "$1" -name '*.[ch]' -exec touch -d "$2" {} +
    "$1/build.sh" lib
}

build_in "$scratch/one" 2001-02-03
build_in "$scratch/another directory/that is deeper" 2021-03-02

cd "$scratch"
for path in one/build/libloop.*; do
    file=${path##*/}
    cmp "$path" "another directory/that is deeper/build/$file"
    sha256sum "$path" | sed 's| .*/|  |'
done
! strings -a one/build/libloop.so one/build/libloop.a one/build/libloop.so.*.debug | grep -F "$scratch"
