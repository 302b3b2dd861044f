#!/usr/bin/env bash
# Static analysis: gcc -fanalyzer and clang --analyze over the C side, staticcheck and govulncheck over the Go
# side. Any finding is a failure; what is not installed or cannot be fetched is said, and is no success.
#
# Usage: test/analyze.sh
#
# Findings are in build/_analyze/NAME.log. The tools for Go come from the module proxy, in the versions below;
# govulncheck asks vuln.go.dev for the list of vulnerabilities, or the copy that the environment names:
# VULNDB=file:///DIRECTORY.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
out=${ANALYZE_OUTPUT:-$root/build/_analyze}
cd "$root"
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false" CGO_ENABLED=1
readonly staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
readonly govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
mkdir -p "$out"

failed=0
absent=0

# report NAME STATUS: a tool that found something has a status or printed a warning.
report() {
    local log=$out/$1.log
    if (($2 == 0)) && ! grep -qE 'warning:|error:' "$log"; then
        printf 'ok      %s\n' "$1"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$1"
        cat "$log"
    fi
}

missing() {
    absent=$((absent + 1))
    printf 'ABSENT  %s: %s\n' "$1" "$2"
}

# The header that cgo makes of the exported Go functions, as capi/*.c include it.
make_export_header() {
    local files
    files=$(go list -f '{{join .CgoFiles " "}}' ./capi)
    (cd capi && go tool cgo -objdir "$out/cgo" -- -I../include $files)
}

# What gcc 12 takes for leaks in buffers.c are pointers that it loses: one is kept as a number, the other in
# memory of posix_memalign. test/conform_buffers.c shows under the leak checker that a pool is freed whole.
analyzer_exceptions() {
    if [[ $1 == gcc* && $2 == capi/buffers.c ]]; then echo -Wno-analyzer-malloc-leak; fi
}

# analyze_c NAME COMPILER...: every C file, with the flags that cgo gives them, and then some warnings.
analyze_c() {
    local name=$1 status=0 source
    shift
    if ! command -v "$1" >/dev/null; then
        missing "$name" "$1 is not installed"
        return
    fi
    : >"$out/$name.log"
    for source in capi/*.c; do
        "$@" -std=gnu11 -O2 -Wall -Wextra -Iinclude -Icapi -I"$out/cgo" -DLOOP_BUILDING \
            $(analyzer_exceptions "$name" "$source") "$source" >>"$out/$name.log" 2>&1 || status=$?
    done
    report "$name" "$status"
}

# analyze_go NAME TOOL ARGUMENT...: a tool in Go over all packages. First it is built, which needs the proxy.
analyze_go() {
    local name=$1 tool=$2 status=0
    shift 2
    if ! GOBIN="$out/bin" timeout 300 go install "$tool" >"$out/$name.log" 2>&1; then
        missing "$name" "it cannot be fetched; see $name.log"
        return
    fi
    timeout 600 "$out/bin/$name" "$@" ./... >"$out/$name.log" 2>&1 || status=$?
    if grep -qE 'fetching vulnerabilities|no such host|connection refused' "$out/$name.log"; then
        missing "$name" "its database cannot be reached"
    else
        report "$name" "$status"
    fi
}

make_export_header
analyze_c gcc-analyzer gcc -fanalyzer -c -o /dev/null
analyze_c clang-analyzer clang --analyze --analyzer-output text
analyze_go staticcheck "$staticcheck"
analyze_go govulncheck "$govulncheck" ${VULNDB:+-db "$VULNDB"}
printf '%d failed, %d absent\n' "$failed" "$absent"
((failed == 0))
