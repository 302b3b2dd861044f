#!/usr/bin/env bash
# Searches the models in this directory with spin: every interleaving of every model, and every model again
# with each of the errors planted in it (the BUG_... in its text), all of which have to be found.
#
#   test/model/run.sh [--full] [MODEL]...     needs spin (Debian package spin) and gcc; 1.5 GB of memory
#
# --full adds the cases of wake.pml that take a minute. A line for each search: the number of states of a
# model that holds, or the length of the shortest way to a planted error. Nothing here is random.
#
# SPDX-License-Identifier: MIT
set -euo pipefail

models=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly models limit_seconds=300

# search OUTPUT MODEL [FLAG]...: the first way to an error is the shortest, for breadth comes first when one
# is planted; depth first takes less memory when all has to be searched.
search() {
    local output=$1 model=$2 directory strategy=(-O2)
    shift 2
    directory=$(mktemp -d)
    if [[ $* == *BUG_* ]]; then strategy=(-O1 -DBFS); fi
    (
        cd "$directory"
        spin "$@" -a "$models/$model.pml"
        gcc -w -DSAFETY -DMEMLIM=6000 "${strategy[@]}" -o pan pan.c
        timeout "$limit_seconds" ./pan -m100000 -w22
    ) >"$output" 2>&1 || true
    rm -rf "$directory"
}

# holds MODEL [FLAG]...: the search has to be complete and without an error.
holds() {
    local output states
    output=$(mktemp)
    search "$output" "$@"
    states=$(awk '/states, stored/ {print $1; exit}' "$output")
    if grep -q 'errors: 0' "$output" && [[ $states ]] &&
        ! grep -q 'Search not completed\|max search depth too small' "$output"; then
        printf '%-10s %-42s holds, %d states\n' "$1" "${2-}" "$states"
        rm "$output"
    else
        printf '%-10s %-42s FAILED\n' "$1" "${2-}"
        cat "$output"
        return 1
    fi
}

# caught MODEL BUG: the search has to find an error.
caught() {
    local output length
    output=$(mktemp)
    search "$output" "$1" -DPLANTED "-D$2"
    length=$(sed -n 's/^pan:1: .*(at depth \([0-9]*\))$/\1/p' "$output")
    if [[ $length ]]; then
        printf '%-10s %-42s caught, %d steps\n' "$1" "$2" "$length"
        rm "$output"
    else
        printf '%-10s %-42s NOT CAUGHT\n' "$1" "$2"
        cat "$output"
        return 1
    fi
}

# jobs FULL MODEL...: what there is to search, the longest first.
jobs_of() {
    local full=$1 model bug
    shift
    for model in "$@"; do
        echo "holds $model"
        if [[ $full && $model == wake ]]; then printf 'holds wake -DCASE=%d\n' 2 3; fi
        for bug in $(grep -o 'BUG_[A-Z_]*' "$models/$model.pml" | sort -u); do
            echo "caught $model $bug"
        done
    done
}

case ${1-} in
    holds | caught) "$@" ;; # one job, for the call below
    *)
        full=
        if [[ ${1-} == --full ]]; then full=yes && shift; fi
        if (($# == 0)); then set -- wake pool close state strand post count original; fi
        jobs_of "$full" "$@" | xargs -P "$(nproc)" -L 1 "$models/run.sh"
        ;;
esac
