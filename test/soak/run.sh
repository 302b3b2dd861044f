#!/usr/bin/env bash
# Builds the soak and runs it on epoll and io_uring with 1 and 2 loop threads in turn; then, on both, the
# proof that an idle loop with 10,000 sockets does nothing. test/soak/soak.c tells what it does and when it
# fails.
#
# Usage: test/soak/run.sh --minutes N [--seed S] [--idle-seconds N]
#
# N is the time of each of the four runs, and may be a fraction; idleness lasts 60 seconds if nothing else is
# said. Every fifth line of JSON is shown as progress; all are kept in build/soak/BACKEND-THREADS.jsonl. The
# exit status is not 0 if one of the runs failed.
set -euo pipefail

minutes=1 seed=1 idle_seconds=60
while (($#)); do
    case $1 in
    --minutes) minutes=${2:?--minutes needs a number} ;;
    --seed) seed=${2:?--seed needs a number} ;;
    --idle-seconds) idle_seconds=${2:?--idle-seconds needs a number} ;;
    *) echo "run.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift 2
done
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly out=${SOAK_OUTPUT:-$PWD/build/soak}
mkdir -p "$out"
./build.sh lib --output "$out"
"${CC:-cc}" -std=gnu11 -O2 -g -Iinclude -o "$out/soak" test/soak/*.c -L"$out" -Wl,-rpath,"$out" \
    -lloop -lpthread -lm

# run NAME ARGUMENT...: one soak. It is stopped when it takes two minutes longer than it should.
failed=0
run() {
    local name=$1 status=0 limit
    shift
    limit=$(awk "BEGIN { print int($minutes * 60 + $idle_seconds + 120) }")
    printf '== %s: soak %s\n' "$name" "$*"
    timeout "$limit" "$out/soak" --seed "$seed" "$@" | tee "$out/$name.jsonl" |
        awk 'NR % 5 == 1 || /summary/ { print; fflush() }' || status=$?
    if ((status == 77)); then
        printf '== %s: not possible here\n' "$name"
    elif ((status != 0)); then
        printf '== %s: FAILED with status %d; again by: soak --seed %s %s\n' "$name" "$status" "$seed" "$*"
        failed=1
    fi
}

for backend in epoll io_uring; do
    for threads in 1 2; do
        run "$backend-$threads" --minutes "$minutes" --backend "$backend" --threads "$threads"
    done
    run "$backend-idle" --minutes 0 --idle-seconds "$idle_seconds" --backend "$backend"
done
if ((failed)); then exit 1; fi
echo "== all runs are flat, and the idle loops slept; measurements in $out"
