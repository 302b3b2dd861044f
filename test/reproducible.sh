#!/usr/bin/env bash
# The same sources give the same bytes: what was built is compared with what comes out of a copy, in a
# directory with a longer name, a space in it, and files of another date.
#
#   test/reproducible.sh BUILD_DIRECTORY        where the library is
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
copy="$scratch/another directory/that is deeper"

mkdir -p "$copy"
cp -r "$source"/{build.sh,go.mod,go.sum,include,capi,loop} "$copy"
find "$copy" -type f -exec touch -d 2001-02-03 {} +
"$copy/build.sh" lib

for path in "$copy"/build/libloop.*; do
    file=${path##*/}
    cmp "$path" "$build/$file"
    echo "$(sha256sum <"$path") $file"
    ! grep -aqF -e "$scratch" -e "$source" "$path" || { echo "$file knows where it was made"; exit 1; }
done
