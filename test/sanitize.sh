#!/usr/bin/env bash
# Runs conformance suites with libloop.so and the test programs built for each sanitizer and each check of the
# Go runtime that works here.
#
#   test/sanitize.sh [CELL]...        all cells if none is named; what is built goes to build/sanitize/CELL
#
# A line for each cell: `ok CELL SECONDS`, `FAILED CELL`, or `-- CELL: why it cannot be had`. The exit status
# is not 0 if one failed. The cells:
#
#   address-gcc      AddressSanitizer and UBSan in capi/ and in the test programs, and the former in the
#                    engine (go build -asan)
#   address-clang    the same by clang
#   memory           MemorySanitizer (go build -msan) in the same places. Suites that look at bytes which the
#                    kernel wrote are left out: the engine makes system calls of its own, which nobody tells
#                    the sanitizer about, so that it takes all such bytes for uninitialised
#   thread           ThreadSanitizer in capi/ and in the test programs; sanitize/thread_bridge.h says what it
#                    is told of the engine. conform_strands is left out: it reports requests that reach a
#                    strand through the engine, where it does not see what orders them. The strands have
#                    test/model/strand.pml
#   race             the race detector of Go on the engine's own tests
#   race-shared      the race detector in libloop.so
#   checkptr         conversions of unsafe.Pointer, in all Go code of libloop.so
#   cgocheck         Go pointers that are written to memory of C (GOEXPERIMENT=cgocheck2)
#   collector        the garbage collector checks its marks and overwrites what it frees (gccheckmark=1,
#                    clobberfree=1)
#   valgrind         memcheck on an example; Go describes its heap (-tags=valgrind)
#
# The first four are made to see a planted error (sanitize/planted.c), too. No report is suppressed.
#
# Elsewhere: `./build.sh test` runs all suites with AddressSanitizer and UBSan in the test programs alone
# (LOOP_SANITIZE), `./build.sh check` compiles the header in all language modes.
#
# SPDX-License-Identifier: MIT
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false" GOTOOLCHAIN=local CGO_ENABLED=1
readonly root out=${SANITIZE_OUTPUT:-$root/build/sanitize} suite_seconds=120
readonly all_cells="address-gcc address-clang memory thread race race-shared checkptr cgocheck collector"\
" valgrind"

# As in build.sh.
readonly runtime="-X=runtime.godebugDefault=asyncpreemptoff=1,gcshrinkstackoff=1"\
",containermaxprocs=0,updatemaxprocs=0"

# library CELL [ARGUMENT]...: libloop.so by `go build`.
library() {
    local cell=$1
    shift
    mkdir -p "$out/$cell"
    timeout -k 5 300 go build -buildmode=c-shared -ldflags "$runtime${extra_runtime:-}" "$@" \
        -o "$out/$cell/libloop.so" ./capi
}

# suites CELL COMPILER FLAGS NAME...: builds test/conform_NAME.c and runs it with both backends, two threads.
suites() {
    local cell=$1 compiler=$2 flags=$3 name backend program
    shift 3
    for name; do
        program=$out/$cell/conform_$name
        # shellcheck disable=SC2086 # the flags are several
        $compiler -std=gnu11 -g -O1 -fno-omit-frame-pointer -Iinclude $flags "test/conform_$name.c" \
            test/support.c test/sockets.c -o "$program" \
            -L"$out/$cell" -Wl,-rpath,"$out/$cell" -lloop -lcmocka -lpthread -ldl
        for backend in io_uring epoll; do
            run_suite "$program" "$backend"
        done
    done
}

# run_suite PROGRAM BACKEND: without address space layout randomisation, which the shadow memory of the
# sanitizers does not always survive.
run_suite() {
    local status=0
    echo "== $1, $2"
    LOOP_TEST_THREADS=2 LOOP_TEST_BACKEND=$2 ASAN_OPTIONS=quarantine_size_mb=4 \
        timeout -k 5 "$suite_seconds" setarch -R "$1" || status=$?
    if ((status == 77)); then
        echo "the machine has no $2"
    elif ((status != 0)); then
        echo "exit status $status"
        return 1
    fi
}

# detects CELL COMPILER FLAGS ERROR REPORT: the sanitizer sees an error that happens in capi/.
detects() {
    local program=$out/$1/planted output
    # shellcheck disable=SC2086 # the flags are several
    $2 -std=gnu11 -g -O1 -w -Iinclude $3 test/sanitize/planted.c -o "$program" \
        -L"$out/$1" -Wl,-rpath,"$out/$1" -lloop -lpthread
    output=$(timeout -k 5 "$suite_seconds" setarch -R "$program" "$4" 2>&1) || true
    if [[ $output != *"$5"*capi/* ]]; then
        printf 'the planted error, %s, was not seen:\n%s\n' "$4" "$output"
        return 1
    fi
    echo "the planted error, $4, was seen"
}

# ---- cells -------------------------------------------------------------------------------------------

address() {
    CC=$2 CGO_CFLAGS="-g -O1 -fno-omit-frame-pointer -fsanitize=undefined -fno-sanitize-recover=all" \
        CGO_LDFLAGS=-fsanitize=undefined library "$1" -asan
    detects "$1" "$2" -fsanitize=address freed heap-use-after-free
    suites "$1" "$2" "-fsanitize=address,undefined -fno-sanitize-recover=all" \
        order posts strands cancel misuse buffers files
}

cell_address-gcc() { address address-gcc gcc; }
cell_address-clang() { address address-clang clang; }

cell_memory() {
    CC=clang library memory -msan
    detects memory clang -fsanitize=memory uninitialised use-of-uninitialized-value
    suites memory clang -fsanitize=memory order posts strands cancel
}

cell_thread() {
    CC=clang CGO_CFLAGS="-g -O1 -fsanitize=thread -include $root/test/sanitize/thread_bridge.h" \
        CGO_LDFLAGS=-fsanitize=thread library thread
    detects thread clang -fsanitize=thread race "data race"
    suites thread clang -fsanitize=thread order posts cancel files
}

# The simulator and the torture have campaigns of their own.
cell_race() { timeout -k 5 300 go test -race -skip 'Sim|Torture' ./loop/...; }

# The shadow memory of Go's race detector has fixed addresses and expects a program that the Go linker laid
# out. In a shared library it ends the process at load.
cell_race-shared() {
    library race-shared -race
    suites race-shared gcc "" order
}
expected_race_shared="ThreadSanitizer failed to allocate"

cell_checkptr() {
    library checkptr -gcflags=all=-d=checkptr
    suites checkptr gcc "" order posts strands cancel misuse buffers files names
}

cell_cgocheck() {
    GOEXPERIMENT=cgocheck2 library cgocheck
    suites cgocheck gcc "" order posts strands cancel misuse buffers files names
}

cell_collector() {
    extra_runtime=,clobberfree=1,gccheckmark=1 library collector
    suites collector gcc "" order posts strands cancel misuse buffers files names
}

# Without the search for leaks, which stops at a block that Go describes twice; without DWARF, in a form that
# it does not know. Examples rather than suites: conform_order comes to a standstill under memcheck, with all
# threads asleep and signals blocked, and why is not known.
cell_valgrind() {
    local example
    extra_runtime=" -s -w" library valgrind -tags=valgrind
    for example in next_tick timers cancel; do
        gcc -std=c11 -g -Iinclude "examples_c/$example.c" -o "$out/valgrind/$example" \
            -L"$out/valgrind" -Wl,-rpath,"$out/valgrind" -lloop -lpthread
        timeout -k 5 60 valgrind --leak-check=no --error-exitcode=9 "$out/valgrind/$example"
    done
}

# ---- running -----------------------------------------------------------------------------------------

# missing CELL: the tool that it needs and the machine does not have.
missing() {
    local tool tools="go gcc"
    case $1 in
    address-clang | memory | thread) tools="go clang" ;;
    valgrind) tools="go gcc valgrind" ;;
    esac
    for tool in $tools; do
        if ! command -v "$tool" >/dev/null; then
            echo "$tool"
            return
        fi
    done
}

# run CELL: returns 1 if it failed. What is known not to work has to fail as it is known to.
run() {
    local cell=$1 log=$out/$1.log start=$SECONDS status=0 expected tool
    expected=expected_${cell//-/_}
    tool=$(missing "$cell")
    if [[ $tool ]]; then
        printf -- '-- %s: %s is not installed\n' "$cell" "$tool"
        return
    fi
    mkdir -p "$out"
    ("$root/test/sanitize.sh" --inside "$cell") >"$log" 2>&1 </dev/null || status=$?
    if ((status == 0)); then
        printf 'ok %s %d\n' "$cell" $((SECONDS - start))
    elif [[ ${!expected:-} ]] && grep -q "${!expected}" "$log"; then
        printf -- '-- %s: it ends with "%s"\n' "$cell" "${!expected}"
    else
        printf 'FAILED %s\n' "$cell"
        tail -n 25 "$log" >&2
        return 1
    fi
}

if [[ ${1:-} == --inside ]]; then
    "cell_$2"
    exit
fi
failures=0
for cell in ${*:-$all_cells}; do
    [[ " $all_cells " == *" $cell "* ]] || { echo "sanitize.sh: no cell $cell" >&2; exit 2; }
    run "$cell" || failures=$((failures + 1))
done
((failures == 0))
