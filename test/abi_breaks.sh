#!/usr/bin/env bash
# A break of the binary interface cannot pass: in a copy of the tree, changes to the header (and to what
# implements it) build without complaint, and test/abi.sh has to report each of them.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# change SED_SCRIPT FILE...: each of the files has to be another one afterwards.
change() {
    local script=$1 file
    shift
    for file; do
        sed -i "$script" "$copy/$file"
        ! cmp -s "$copy/$file" "$source/$file" || { echo "$file is as before: $script"; exit 1; }
    done
}

# report_has LINE: the report has that line.
report_has() {
    grep -qF -- "$1" "$copy/report" || { echo "not reported: $1"; cat "$copy/report"; exit 1; }
    echo "reported: $1"
}

mkdir "$copy/test"
cp -r "$source"/{build.sh,go.mod,go.sum,include,capi,loop} "$copy"
cp "$source/test/abi.sh" "$copy/test"

# A field becomes larger, two change places, a result becomes smaller, a function loses its name.
change 's/^    uint32_t flags;            /    uint64_t flags;            /' include/loop.h
change '/^    uint64_t wakes; /{h;d}; /^    uint64_t stale_events; /{G}' include/loop.h
change 's/\bint64_t loop_pending(/int loop_pending(/' include/loop.h capi/lifecycle.c
change 's/\bloop_set_strand(/loop_set_strand_of(/' include/loop.h capi/strand.c
"$copy/build.sh" lib
if "$copy/test/abi.sh" compare >"$copy/report" 2>&1; then
    echo "no difference found"
    exit 1
fi
report_has "type size changed from 160 to 192"
report_has "'uint64_t wakes' offset changed from 384 to 448"
report_has "return type changed"
report_has "[D] 'function int loop_set_strand("
report_has "[A] 'function int loop_set_strand_of("
