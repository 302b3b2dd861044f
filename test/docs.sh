#!/usr/bin/env bash
# The reference that is made from the header: Doxygen and mandoc have nothing to say against it, each
# function has a page of the manual with its prototype, and its place in the HTML; and the pages tell what
# the header tells.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
"$source/build.sh" docs
cd "$source/build/docs"

complaints=$(for page in man/man?/*; do mandoc -T lint -W warning "$page"; done || true)
[[ ! $complaints ]] || { echo "$complaints"; exit 1; }

functions=0
while read -r name; do
    mandoc -T utf8 -O width=200 "man/man3/$name.3" | col -b >page.txt
    grep -qE "^ +[a-z].*\b$name\(" page.txt || { echo "$name: no prototype in its page"; exit 1; }
    grep -q "$name(3)" <(mandoc -T utf8 man/man7/libloop.7 | col -b | tr -d '\n' | sed 's/‐ *//g') ||
        { echo "$name: not in libloop(7)"; exit 1; }
    grep -q ">$name<" html/loop_8h.html || { echo "$name: not in the HTML"; exit 1; }
    functions=$((functions + 1))
done <"$source/capi/abi.txt"
rm page.txt

# A sentence of the header, in both.
grep -q "It never fires early" man/man3/loop_timer_start.3
grep -q "It never fires early" html/loop_8h.html
echo "$functions functions documented"
