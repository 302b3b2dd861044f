#!/usr/bin/env bash
# A change in include/loop.h must get into the library: the build cache of Go alone would not see it, because
# the header lies outside of the package that includes it (golang/go#24355). In a copy of the tree, this
# changes the version in the header and asks the rebuilt library for it.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$source"/{build.sh,go.mod,go.sum,include,capi,loop} "$copy"
cd "$copy"

cat >version.c <<'PROGRAM'
#include <loop.h>
#include <stdio.h>
int main(void) { return puts(loop_version()) < 0; }
PROGRAM

# built_version: builds the library and prints the version that it answers.
built_version() {
    ./build.sh lib
    "${CC:-cc}" -Iinclude version.c -o version -Lbuild -Wl,-rpath,"$copy/build" -lloop
    ./version
}

before=$(built_version)
sed -i 's/^#define LOOP_VERSION_STRING .*/#define LOOP_VERSION_STRING "0.99.7"/' include/loop.h
after=$(built_version)

echo "before: $before, after: $after"
[[ $before == "$("$source/build.sh" version)" && $after == 0.99.7 ]]
