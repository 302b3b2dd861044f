#!/usr/bin/env bash
# The reference that is made from the headers: Doxygen and mandoc have nothing to say against it, each
# function has a page of the manual with its prototype, and its place in the HTML, as has each class and
# operation of loop.hpp; and the pages tell what the headers tell.
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

classes=0
for class in $(cat "$source"/include/loop/*.hpp | sed '/^namespace detail {/,/^} \/\/ namespace detail/d' |
    sed -nE 's/^(template .*> )?(class|struct) (\[\[nodiscard\]\] )?(\w+) .*\{$/\4/p'); do
    ls html/*libloop_1_1"${class//_/__}".html >/dev/null || { echo "$class: no page in the HTML"; exit 1; }
    classes=$((classes + 1))
done
((classes >= 20)) || { echo "only $classes classes found in the headers"; exit 1; }
while read -r operation; do
    grep -q ">$operation<" html/classlibloop_1_1operations.html ||
        { echo "$operation: not in the HTML"; exit 1; }
done < <(sed -n '/- ticks/,$s/^    auto \(\w*\)(.*/\1/p' "$source/include/loop/operations.hpp")

# A sentence of a header, in each.
grep -rq "The callable is not called any more" html/classlibloop_1_1timer.html
grep -q "It never fires early" man/man3/loop_timer_start.3
grep -q "It never fires early" html/loop_8h.html
echo "$functions functions and $classes classes documented"
