#!/usr/bin/env bash
# The binary interface of the library, as libabigail reads it from what the compiler left for debuggers,
# against the one that is recorded in capi/abi.xml: functions, their versions and prototypes, the structs of
# loop.h.
#
#   test/abi.sh compare [LIBRARY]   says what differs, and fails then
#   test/abi.sh record [LIBRARY]    makes what is there now the record
#
# An addition to the interface is recorded with it in one commit. Anything else that differs is a break:
# programs that were built before would misbehave, so it needs another SONAME (LOOP_VERSION_MAJOR) as well.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
record=$source/capi/abi.xml

# describe LIBRARY FILE: what is not in loop.h is opaque; what depends on the place of the build is left out.
describe() {
    abidw --headers-dir "$source/include" --drop-private-types --exported-interfaces-only \
        --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --no-architecture \
        --type-id-style hash --out-file "$2" "$1"
    # Without information for debuggers there is no type, and nothing would ever differ.
    grep -q "name='loop_request' size-in-bits" "$2" || {
        echo "abi.sh: $1 has no debugging information" >&2
        return 1
    }
}

mode=${1:-compare}
library=$(realpath "${2:-$source/build/libloop.so}")
case $mode in
record) describe "$library" "$record" ;;
compare)
    found=$(mktemp)
    trap 'rm -f "$found"' EXIT
    describe "$library" "$found"
    if ! abidiff --harmless "$record" "$found"; then
        echo "The interface is not the recorded one; see the top of test/abi.sh." >&2
        exit 1
    fi
    ;;
*)
    echo "usage: test/abi.sh compare|record [LIBRARY]" >&2
    exit 2
    ;;
esac
