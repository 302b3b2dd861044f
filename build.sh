#!/usr/bin/env bash
# Builds, checks, tests, measures and installs libloop. `./build.sh help` lists what it can do.
#
# This is also the only place that knows how the Go linker has to be called: CMakeLists.txt runs
# `build.sh lib` as well. Go, a C compiler and git are enough for the library, the examples and the main
# job; the verbs that need more install the Debian packages by name.
set -euo pipefail

caller=$PWD
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$root"
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false" GOTOOLCHAIN=local CGO_ENABLED=1
readonly caller root build="$root/build"

usage() {
    cat <<'USAGE'
Usage: ./build.sh [VERB]

  (no verb)             build the library and the examples, then do the main job: examples/checksum on the
                        source tree of the Go toolchain, every line compared with cksum
  lib                   build/libloop.so (with its SONAME links) and build/libloop.a
      --output DIR        put them into DIR instead
      --depfile FILE      also write what they were built from, as a rule of make
  examples              build/examples/NAME, one for each program in examples_c/ and examples_cpp/
  test [REGEX]          all tests: Go, Go with the race detector, C through CTest, C with the sanitizers;
                        with REGEX only the CTest tests whose names match
  check                 format, vet, the public header in every language mode, exported symbols, the recorded
                        binary interface (capi/abi.xml), the size of the library, house style
  abi                   record the binary interface as it is now (after an addition)
  bench [ARGUMENT]...   the benchmarks (bench/run.sh)
  wheel [DIRECTORY]     the Python package with the library in it, as a wheel (build/wheel)
  simulate [SECONDS] [SEED]  seeded programs on the simulated kernel (900 seconds); with SEED that one alone
  mutants               planted errors, each of which the simulator has to find
  fuzz [SECONDS]        the C interface, the engine and the HTTP server under fuzz (300 seconds for each)
  soak [--minutes N]    everything mixed, with faults; memory, descriptors, threads and latency must stay flat
  analyze               static analysis;  sanitize [CELL]...  the matrix of sanitizers
  reliability [SECONDS] all of these, SECONDS (60) for each; writes docs/reliability.md
  docs                  the reference: HTML in build/docs/html, pages of the manual in build/docs/man
  deb                   Debian packages in build/deb, built from the source package, tried in a directory
  install --prefix DIR  library, headers, pkg-config and CMake files, manual; DESTDIR is honoured
  uninstall             take back the last installation; DESTDIR is honoured
  version               the version that include/loop.h states
  clean                 remove build/
  help                  this text

The environment chooses the C compiler (CC) and everything that Go reads (GOFLAGS, GOPROXY, ...).
USAGE
}

say() { printf '== %s\n' "$*"; }

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

# absolute PATH: as seen from where the script was called.
absolute() { (cd "$caller" && realpath -m -- "$1"); }

# ---- library and examples ----------------------------------------------------------------------------

# The version of the library, from the header: all other files get it from here.
library_version() {
    sed -n 's/^#define LOOP_VERSION_STRING "\(.*\)"$/\1/p' include/loop.h
}

# Settings of the Go runtime that go into the library:
#   asyncpreemptoff    no preemption by SIGURG, which would interrupt system calls of the host
#   gcshrinkstackoff   a stack that was made large for the host's signal handlers stays so
#   containermaxprocs, updatemaxprocs
#                      no watch on the processor quota of the cgroup, which keeps two descriptors open
readonly runtime_settings="-X=runtime.godebugDefault=asyncpreemptoff=1,gcshrinkstackoff=1"\
",containermaxprocs=0,updatemaxprocs=0"

# shared_link_flags SONAME: flags of the C linker for the shared library. The version script leaves the
# symbols of loop.h and nothing else; all symbols are bound at load, and their table is read-only afterwards.
shared_link_flags() {
    printf '"-Wl,--version-script=%s" -Wl,-soname,%s -Wl,-z,now -Wl,-z,relro -Wl,--build-id=sha1' \
        "$root/capi/libloop.map" "$1"
}

# go_library MODE FILE LINK_FLAGS: package capi as a library, so that the same sources give the same bytes,
# wherever they lie: paths are left out, and so is the ID that cmd/go keeps in what it builds, which depends
# on them; the linker of C makes one of the contents instead. FILE stays as it is when nothing changed.
# Functions begin at multiples of 8 bytes; with 32, the default of Go, it is 28 KB larger.
go_library() {
    go build -trimpath -buildmode="$1" -o "$2.new" \
        -ldflags "-buildid= -B none -funcalign=8 $runtime_settings $3" ./capi
    rm -f "${2%.*}.h" "$2.h" # the header that cgo writes; ours is include/loop.h
    if cmp -s "$2.new" "$2"; then rm "$2.new"; else mv "$2.new" "$2"; fi
}

# build_shared DIRECTORY: libloop.so and its links, and beside it a file with what debuggers want to know.
build_shared() {
    local version soname name whole
    version=$(library_version)
    soname=libloop.so.${version%%.*}
    name=libloop.so.$version
    whole=$1/unstripped/$name
    go_library c-shared "$whole" "-extldflags '$(shared_link_flags "$soname")'"
    if [[ ! $1/$name -nt $whole ]]; then
        "${OBJCOPY:-objcopy}" --only-keep-debug "$whole" "$1/$name.debug"
        "${OBJCOPY:-objcopy}" --strip-all --add-gnu-debuglink="$1/$name.debug" "$whole" "$1/$name"
    fi
    ln -sfn "$name" "$1/$soname"
    ln -sfn "$soname" "$1/libloop.so"
}

# build_static DIRECTORY: libloop.a. The objects of the archive that cmd/go makes become a single one, for two
# reasons: its local symbols can be hidden like those of the shared library, and the constructors keep the
# order that capi/guest.c relies on, the one of Go (in go.o) before ours, whatever the program links first.
build_static() {
    local archive=$1/unstripped/libloop.a
    go_library c-archive "$archive" "-s -w"
    if [[ $1/libloop.a -nt $archive ]]; then return; fi
    (
        parts=$(mktemp -d "$1/unstripped/XXXXXX")
        trap 'rm -rf "$parts"' EXIT
        cd "$parts"
        "${AR:-ar}" x "$archive"
        $(go env CC) -r -nostdlib -Wl,-d -o libloop.o go.o 0*.o
        "${OBJCOPY:-objcopy}" --strip-debug --wildcard --keep-global-symbol='loop_*' libloop.o
        "${AR:-ar}" rcsD libloop.a libloop.o
        mv libloop.a "$1/libloop.a"
    )
}

# write_depfile FILE LIBRARY: what the library is built from. Directories are in the list so that a new file
# counts, too.
write_depfile() {
    local template='{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{$d}}{{"\n"}}' list
    for list in GoFiles CgoFiles CFiles HFiles SFiles EmbedFiles; do
        template+="{{range .$list}}{{\$d}}/{{.}}{{\"\n\"}}{{end}}"
    done
    template+='{{end}}{{end}}'
    {
        go list -deps -f "$template" ./capi
        printf '%s\n' "$root"/{build.sh,go.mod,go.sum,capi/libloop.map}
    } | sort -u | sed '/^$/d; s/ /\\ /g; s/.*/  & \\/' | { printf '%s: \\\n' "${2// /\\ }"; cat; echo; } >"$1"
}

# lib [--output DIR] [--depfile FILE]
lib() {
    local output=$build depfile=
    while (($#)); do
        case $1 in
        --output) output=$(absolute "${2:?--output needs a directory}") ;;
        --depfile) depfile=$(absolute "${2:?--depfile needs a file}") ;;
        *) die "lib: unknown argument $1" ;;
        esac
        shift 2
    done
    case $($(go env CC) -dumpmachine) in
    *musl*) die "musl cannot load a shared library with a Go runtime (golang/go#13492); use glibc" ;;
    esac
    mkdir -p "$output/unstripped"
    build_shared "$output"
    build_static "$output"
    if [[ $depfile ]]; then
        # The caller goes by dates; cmd/go goes by contents, and may have left the library as it is.
        touch "$output/libloop.so.$(library_version)"
        write_depfile "$depfile" "$output/libloop.so.$(library_version)"
    fi
}

# build_example COMPILER STANDARD SOURCE: a program, with its parts if there is a folder of its name.
build_example() {
    local name program sources=("$3") inputs packages=()
    name=$(basename "${3%.*}")
    program=$build/examples/$name
    inputs=("$3" include/loop.h include/loop.hpp include/loop examples_c/*.h)
    if [[ -d ${3%.*} ]]; then
        sources+=("${3%.*}"/*.c)
        inputs+=("${3%.*}"/*)
    fi
    if [[ -e $program && ! $(find "${inputs[@]}" -newer "$program") ]]; then return; fi
    if [[ $name == embed_glib ]]; then
        if ! pkg-config --exists glib-2.0 2>/dev/null; then
            say "no GLib: the example $name is left out"
            return
        fi
        read -ra packages <<<"$(pkg-config --cflags --libs glib-2.0)"
    fi
    $1 "-std=$2" -O2 -g -Wall -Wextra -Iinclude "${sources[@]}" -o "$program" \
        -L"$build" -Wl,-rpath,'$ORIGIN/..' -lloop -lpthread "${packages[@]}"
}

examples() {
    local source
    lib
    mkdir -p "$build/examples"
    for source in examples_c/*.c; do
        build_example "$(go env CC)" c11 "$source"
    done
    if ! command -v "$(go env CXX)" >/dev/null; then
        say "no C++ compiler: the examples in C++ are left out"
        return
    fi
    for source in examples_c/*.cpp; do
        build_example "$(go env CXX)" c++17 "$source"
    done
    for source in examples_cpp/*.cpp; do
        build_example "$(go env CXX)" c++20 "$source"
    done
}

# ---- the main job ------------------------------------------------------------------------------------

# The checksums of a real tree, by the example that is built on the library and by cksum of coreutils. The
# example prints its figures itself.
main_job() {
    local tree
    tree=$(realpath "$(go env GOROOT)/src")
    mkdir -p "$build/job"
    say "examples/checksum $tree"
    "$build/examples/checksum" "$tree" >"$build/job/checksum"
    find "$tree" -type f -print0 | LC_ALL=C sort -z | xargs -0 cksum >"$build/job/cksum"
    head -n 2 "$build/job/checksum"
    echo ...
    tail -n 1 "$build/job/checksum"
    cmp "$build/job/checksum" "$build/job/cksum" || die "checksum and cksum differ; see build/job/"
    echo "$(wc -l <"$build/job/checksum") lines, identical to those of cksum"
}

# ---- packages ----------------------------------------------------------------------------------------

# need PACKAGE...: installs the Debian packages that are missing. On other systems their user sees to it.
need() {
    local package missing=()
    command -v dpkg-query >/dev/null || return 0
    for package; do
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die "please install: ${missing[*]}"
    say "installing ${missing[*]}"
    [[ ${package_lists_are_new:-} ]] || apt-get update -qq
    package_lists_are_new=1
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
}

need_for_tests() {
    need cmake ninja-build gcc g++ libc6-dev libcmocka-dev python3 strace binutils git pkg-config curl wrk \
        libglib2.0-dev spin doctest-dev python3-venv python3-aiohttp mypy \
        make abigail-tools doxygen mandoc man-db libuv1-dev libevent-dev # for packages and documents
    need "libpython$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite"
}

# clang and its sanitizers, which are a package of their own, with the version in its name.
need_clang() {
    local version
    need clang
    version=$(clang -dumpversion)
    need "libclang-rt-${version%%.*}-dev"
}

# ---- steps -------------------------------------------------------------------------------------------

passed=0
failed=0

# step NAME COMMAND...: runs a command, which must not be a condition for `set -e` to hold in it, and counts
# its success. Its output is shown when it fails.
step() {
    local name=$1 output status
    shift
    set +e
    output=$(set -e; "$@" 2>&1)
    status=$?
    set -e
    if ((status == 0)); then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$name"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$name" "$output"
    fi
}

summary() {
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0 && passed > 0))
}

# ---- test --------------------------------------------------------------------------------------------

# go_test NAME ARGUMENT...: runs `go test` and counts its tests. All output is in build/test/NAME.log.
go_test() {
    local log=$build/test/$1.log failures
    shift
    say "go test${*:+ $*}"
    mkdir -p "$build/test"
    if go test -v "$@" ./... >"$log" 2>&1; then
        failures=0
    else
        failures=$(grep -c '^--- FAIL' "$log" || true)
        failures=$((failures > 0 ? failures : 1))
        grep -vE '^(=== |--- PASS|PASS)' "$log"
    fi
    grep -E '^(ok|FAIL)\s' "$log" || true
    passed=$((passed + $(grep -c '^--- PASS' "$log" || true)))
    failed=$((failed + failures))
}

# c_test NAME REGEX CMAKE_ARGUMENT...: builds everything with CMake, runs CTest, two tests at a time, and
# counts them.
c_test() {
    local directory=$build/cmake/$1 regex=$2 log=$build/test/$1.log counts
    say "ctest, configuration $1"
    shift 2
    mkdir -p "$build/test"
    if ! { cmake -S . -B "$directory" -G Ninja -DCMAKE_COMPILE_WARNING_AS_ERROR=ON "$@" &&
           cmake --build "$directory"; } >"$log" 2>&1; then
        cat "$log"
        failed=$((failed + 1))
        return
    fi
    ctest --test-dir "$directory" --parallel 2 --output-on-failure --no-tests=error \
        ${regex:+-R "$regex"} 2>&1 | tee "$log" | grep -v '^ *Start ' || true
    if [[ $regex ]] && grep -q '^No tests were found' "$log"; then return; fi # they may be the other one's
    counts=$(sed -n 's/^.*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$log")
    if [[ $counts ]]; then
        failed=$((failed + ${counts% *}))
        passed=$((passed + ${counts#* } - ${counts% *}))
    else
        failed=$((failed + 1))
    fi
}

run_tests() {
    local regex=${1:-}
    need_for_tests
    if [[ ! $regex ]]; then
        step "go vet" go vet ./...
        go_test go
        go_test go-race -race
        step "models of the protocols" test/model/run.sh
    fi
    c_test release "$regex" -DCMAKE_BUILD_TYPE=RelWithDebInfo
    c_test sanitized "$regex" -DCMAKE_BUILD_TYPE=Debug -DLOOP_SANITIZE=address
    say "all tests"
    summary
}

# ---- check -------------------------------------------------------------------------------------------

# Our own files whose names match one of the patterns.
files() {
    local conditions=() pattern
    for pattern; do conditions+=(-o -name "$pattern"); done
    find . \( -path ./build -o -path ./.git -o -path ./vendor \) -prune -o \
        -type f \( "${conditions[@]:1}" \) -print
}

check_gofmt() {
    local unformatted
    unformatted=$(files '*.go' | xargs gofmt -l)
    [[ ! $unformatted ]] || die "gofmt would change: $unformatted"
}

check_shell() {
    local script
    for script in $(files '*.sh' run); do bash -n "$script"; done
}

# check_header COMPILER LANGUAGE STANDARD
check_header() {
    "$1" -x "$2" "-std=$3" -fsyntax-only -Iinclude -Wall -Wextra -Wpedantic -Wconversion -Werror \
        test/header_alone.c
}

# check_cpp_headers COMPILER FLAG...: loop.hpp and each of its parts, alone and twice.
check_cpp_headers() {
    local header compiler=$1
    shift
    for header in loop.hpp $(cd include && echo loop/*.hpp); do
        printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
            "$compiler" "$@" -x c++ - -fsyntax-only -Iinclude \
                -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
    done
}

# The functions that a list names are those that the header declares and those that the library exports.
check_symbols() {
    local declared exported
    declared=$(sed -n 's/^LOOP_API .*\b\(loop_[a-z0-9_]*\)(.*/\1/p' include/loop.h | LC_ALL=C sort)
    exported=$(nm -D --defined-only "$build/libloop.so" | awk '$2 != "A" { print $3 }' | LC_ALL=C sort)
    diff -u --label capi/abi.txt --label include/loop.h capi/abi.txt <(printf '%s\n' "$declared")
    diff -u --label "capi/abi.txt, with versions" --label build/libloop.so \
        <(sed 's/$/@@LOOP_0/' capi/abi.txt) <(printf '%s\n' "$exported")
    diff -u --label capi/abi.txt --label build/libloop.a \
        capi/abi.txt <(nm -g --defined-only "$build/libloop.a" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort)
}

# The Debian package knows the same version and the same symbols.
check_debian() {
    diff -u --label capi/abi.txt --label debian/libloop0.symbols \
        <({ echo LOOP_0; cat capi/abi.txt; } | LC_ALL=C sort) \
        <(sed -n 's/^ \(.*\)@LOOP_0 [0-9.]*$/\1/p' debian/libloop0.symbols)
    [[ $(head -n 1 debian/changelog) == "libloop ($(library_version)-"* ]] ||
        die "debian/changelog does not begin with the version of include/loop.h"
    grep -q "^## \[$(library_version)\]" CHANGELOG.md || die "CHANGELOG.md does not know the version"
}

# What a program loads is at most 2 MiB.
check_size() {
    local bytes limit=$((2 << 20))
    bytes=$(stat -L -c %s "$build/libloop.so")
    ((bytes <= limit)) || die "libloop.so has $bytes bytes, which is more than $limit"
}

# Lines of at most 110 columns, a tab being four of them.
check_columns() {
    local file long
    local patterns=('*.[ch]' '*.[ch]pp' '*.go' '*.py' '*.sh' '*.cmake' '*.in' CMakeLists.txt run)
    long=$(for file in $(files "${patterns[@]}"); do
        expand -t 4 "$file" | LC_ALL=C.UTF-8 grep -nE '^.{111,}' | sed "s|^|$file:|" || true
    done)
    [[ ! $long ]] || die "longer than 110 columns:"$'\n'"$long"
}

# Every file opens with a comment that says what it is for; in Go, packages and declarations have them.
check_openings() {
    local file first silent=
    for file in $(files '*.c' '*.h' '*.[ch]pp' '*.py' '*.sh' '*.cmake' CMakeLists.txt run); do
        first=$(sed -n '/^#!/d; /^$/d; p; q' "$file")
        [[ $first =~ ^(/\*|//|#\ |\"\"\") ]] || silent+=" $file"
    done
    [[ ! $silent ]] || die "no comment at the start:$silent"
}

# Functions of at most 70 lines, in C and Go: from the line of the name to the closing brace in column one.
check_functions() {
    local long
    long=$(files '*.c' '*.h' '*.[ch]pp' '*.go' | xargs awk '
        FNR == 1 { start = 0 }
        /^[A-Za-z_]/ { start = FNR; body = 0 }
        start && /\{$/ && (/\)[^;=]*\{$/ || /^\{$/) { body = 1 }
        /^\}/ {
            if (start && body && FNR - start + 1 > 70)
                printf "%s:%d: %d lines\n", FILENAME, start, FNR - start + 1
            start = 0
        }')
    [[ ! $long ]] || die "functions over 70 lines:"$'\n'"$long"
}

check() {
    local compiler standard
    need gcc g++ clang binutils libc6-dev abigail-tools
    step "library" lib
    step "gofmt" check_gofmt
    step "go vet" go vet ./...
    step "shell syntax" check_shell
    for compiler in gcc clang; do
        for standard in c99 c11 c17 c2x; do
            step "loop.h, $compiler, $standard" check_header "$compiler" c "$standard"
        done
        for standard in c++11 c++14 c++17 c++20; do
            step "loop.h, $compiler, $standard" check_header "$compiler" c++ "$standard"
        done
        for standard in c++17 c++20 c++2b; do
            step "loop.hpp, $compiler, $standard" check_cpp_headers "$compiler" "-std=$standard"
            step "loop.hpp, $compiler, $standard, without exceptions" \
                check_cpp_headers "$compiler" "-std=$standard" -fno-exceptions -fno-rtti
        done
    done
    step "exported symbols" check_symbols
    step "binary interface" test/abi.sh compare
    step "versions and symbols of the packages" check_debian
    step "size of the library: $(stat -L -c %s "$build/libloop.so") bytes" check_size
    step "columns" check_columns
    step "opening comments" check_openings
    step "length of functions" check_functions
    summary
}

# ---- bench, packages, and the choice of the verb -----------------------------------------------------------

bench() {
    need gcc g++ libc6-dev libuv1-dev libev-dev libasio-dev liburing-dev python3 python3-matplotlib wrk
    if ! command -v nginx >/dev/null; then
        need nginx-light
        # Only the program is wanted; its package may have started it, and starts it with the system.
        service nginx stop || true
        update-rc.d nginx disable
    fi
    lib
    exec bench/run.sh "$@"
}

# wheel [DIRECTORY]
wheel() {
    local directory
    directory=$(absolute "${1:-$build/wheel}")
    need python3
    lib
    python3 python/build_wheel.py --library "$build/libloop.so" "$directory"
}

# ---- campaigns: longer than the tests ----------------------------------------------------------------------

simulate() {
    need gcc libc6-dev
    local seconds=${1:-900} seed=${2:-}
    go test ./loop -count=1 -run "^TestSim\$" -timeout 0 -v -args -sim.seconds="$seconds" \
        ${seed:+-sim.seed="$seed"}
}

fuzz() {
    local seconds=${1:-300} target
    need_clang
    need gcc libc6-dev python3 curl wrk
    lib
    examples
    test/fuzz/run.sh "$seconds"
    for target in FuzzWheel:./loop/internal/wheel FuzzProgram:./loop; do
        say "go test -fuzz ${target%%:*}"
        go test -run '^$' -fuzz "^${target%%:*}\$" -fuzztime "${seconds}s" "${target#*:}"
    done
    say "HTTP server"
    python3 test/http_test.py "$build/examples/http_server" --seconds "$seconds"
}

mutants() {
    need gcc libc6-dev python3
    exec python3 test/mutants.py "$@"
}

analyze() {
    need clang gcc libc6-dev
    exec test/analyze.sh
}

sanitize() {
    need_clang
    need gcc g++ libc6-dev libcmocka-dev valgrind
    exec test/sanitize.sh "$@"
}

reliability() {
    need_for_tests
    need_clang
    need valgrind
    exec python3 test/reliability.py --seconds "${1:-60}"
}

soak() {
    need gcc libc6-dev python3
    lib
    test/soak/run.sh "$@"
}

# install_to --prefix DIR
install_to() {
    [[ ${1:-} == --prefix && ${2:-} ]] || die "install needs --prefix DIR"
    need cmake make gcc libc6-dev
    cmake -S . -B "$build/cmake/install" -G "Unix Makefiles" -DCMAKE_BUILD_TYPE=Release \
        -DLOOP_BUILD_TESTS=OFF -DLOOP_BUILD_EXAMPLES=OFF -DCMAKE_INSTALL_PREFIX="$(absolute "$2")"
    cmake --build "$build/cmake/install"
    cmake --install "$build/cmake/install"
}

docs() {
    need doxygen python3
    rm -rf "$build/docs"
    mkdir -p "$build/docs"
    { cat docs/Doxyfile; printf 'OUTPUT_DIRECTORY = "%s"\n' "$build/docs"; } | doxygen -
    python3 docs/reference/manual.py include/loop.h "$build/docs/man"
    say "build/docs/html/index.html, build/docs/man"
}

deb() {
    need dpkg-dev debhelper dh-python cmake ninja-build gcc g++ libc6-dev python3 pkg-config lintian
    exec test/debian.sh "$build/deb"
}

main() {
    local verb=${1:-all}
    shift || true
    case $verb in
    help | -h | --help) usage; return ;;
    version) library_version; return ;;
    clean) rm -rf "$build"; return ;;
    esac
    command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || die "Go is not installed (https://go.dev/dl)"
    case $verb in
    all)
        say "library and examples"
        examples
        main_job
        ;;
    lib) lib "$@" ;;
    examples) examples ;;
    test) run_tests "$@" ;;
    check) check ;;
    bench) bench "$@" ;;
    wheel) wheel "$@" ;;
    simulate) simulate "$@" ;;
    mutants) mutants "$@" ;;
    fuzz) fuzz "$@" ;;
    soak) soak "$@" ;;
    analyze) analyze ;;
    sanitize) sanitize "$@" ;;
    reliability) reliability "$@" ;;
    abi) need abigail-tools && lib && test/abi.sh record ;;
    docs) docs ;;
    deb) deb ;;
    install) install_to "$@" ;;
    uninstall) cmake --build "$build/cmake/install" --target uninstall ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
}

main "$@"
