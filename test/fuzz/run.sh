#!/usr/bin/env bash
# Fuzzes the C API with libFuzzer and AddressSanitizer (clang), and ends with what was found.
#
# Usage: test/fuzz/run.sh SECONDS [SEED]
#
# Two targets get half of the time each:
#   shared   the harness against build/fuzz/libloop.so, the library as it is delivered
#   inside   the harness with the library in it, whose C files are instrumented for AddressSanitizer, and
#            whose C and Go files tell libFuzzer where they have been
# Each begins with the texts in corpus/ and what earlier runs kept in build/fuzz/TARGET. An input that crashes
# or hangs a target is kept in build/fuzz/crashes; run it again by
#   FUZZ_TRACE=1 build/fuzz/TARGET.fuzz FILE
# The exit status is not 0 if there is one.
set -euo pipefail

seconds=${1:?usage: test/fuzz/run.sh SECONDS [SEED]}
seed=${2:-1}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
out=${FUZZ_OUTPUT:-$root/build/fuzz}
cd "$root"
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
for tool in clang go; do
    command -v "$tool" >/dev/null || { echo "run.sh: $tool is not installed" >&2; exit 1; }
done
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false" CGO_ENABLED=1
mkdir -p "$out/crashes"

readonly flags="-std=gnu11 -g -O1 -fno-omit-frame-pointer -Iinclude"
readonly harness="test/fuzz/abi_fuzz.c test/fuzz/descriptors.c test/fuzz/ledger.c test/fuzz/loops.c \
test/fuzz/mutate.c test/fuzz/operations.c"

# The options of the library's runtime, which `build.sh lib` sets as well.
readonly runtime="-X=runtime.godebugDefault=asyncpreemptoff=1,gcshrinkstackoff=1"

build_shared() {
    CC=clang go build -trimpath -buildmode=c-shared -ldflags "$runtime" -o "$out/libloop.so" ./capi
    clang $flags -fsanitize=fuzzer,address $harness -o "$out/shared.fuzz" \
        -L"$out" -Wl,-rpath,"$out" -lloop -lpthread
}

build_inside() {
    CC=clang CGO_CFLAGS="-g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address" \
        go build -trimpath -buildmode=c-archive -tags=libfuzzer -ldflags "$runtime" \
        -gcflags='github.com/libloop/libloop/...=-d=libfuzzer' -o "$out/libloop.a" ./capi
    rm -rf "$out/objects"
    mkdir "$out/objects"
    (cd "$out/objects" && ar x ../libloop.a)
    # Go's part first, as in build.sh: that is the order of the constructors.
    clang $flags -DLOOP_STATIC -fsanitize=fuzzer,address $harness "$out/objects/go.o" "$out"/objects/0*.o \
        -o "$out/inside.fuzz" -lpthread
}

# The hand-written inputs, in the form that the fuzzer mutates.
assemble_corpus() {
    local target
    clang $flags test/fuzz/{replay,abi_fuzz,descriptors,ledger,loops,operations}.c -o "$out/replay" \
        -L"$out" -Wl,-rpath,"$out" -lloop -lpthread
    for target in shared inside; do
        mkdir -p "$out/$target"
        "$out/replay" --assemble "$out/$target" test/fuzz/corpus/*.txt
    done
}

# What is shown while the fuzzer runs: a line each few seconds.
readonly progress='/^#[0-9]/ && systime() >= due { print; fflush(); due = systime() + 5 }'

# fuzz TARGET SECONDS: its progress goes to the terminal, and to build/fuzz/TARGET.log.
fuzz() {
    local target=$1 status=0
    echo "== fuzzing $target for $2 s, seed $seed"
    ASAN_OPTIONS="allocator_may_return_null=1:quarantine_size_mb=16" timeout -k 10 $(($2 + 120)) \
        "$out/$target.fuzz" "$out/$target" -artifact_prefix="$out/crashes/$target-" -max_total_time="$2" \
        -seed="$seed" -max_len=768 -timeout=30 -rss_limit_mb=2048 -print_final_stats=1 -reload=0 2>&1 |
        tee "$out/$target.log" | awk "$progress" || status=$?
    ((status == 0)) || tail -n 40 "$out/$target.log"
    return "$status"
}

# summary TARGET STATUS
summary() {
    local log=$out/$1.log executions coverage
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/^#.* cov: \([0-9]*\) ft: \([0-9]*\).*/\1 edges, \2 features/p' "$log" | tail -n 1)
    printf '%-8s %s executions, %s, %s\n' "$1" "${executions:-?}" "${coverage:-?}" \
        "$( (($2 == 0)) && echo "0 crashes" || echo "CRASHED, see ${log#"$root/"}")"
}

build_shared
build_inside
assemble_corpus
failures=0
lines=
for target in ${FUZZ_TARGETS:-shared inside}; do
    status=0
    fuzz "$target" $((seconds / 2)) || status=$?
    ((status == 0)) || failures=$((failures + 1))
    lines+=$(summary "$target" "$status")$'\n'
done
printf '%s' "$lines"
((failures == 0))
