#!/usr/bin/env bash
# Installs what CMake built, through a staging directory (DESTDIR), moves the result elsewhere, and builds a
# project of programs in C and C++ with it, each with the shared and the static library: by
# find_package, by pkg-config and make, and by the bare compilers. Then once more from the source tree, by
# add_subdirectory and by FetchContent. Every command runs in a directory that has nothing to do with it. In
# the end it uninstalls.
#
#   test/install.sh BUILD_DIRECTORY LIBDIR        LIBDIR: what CMAKE_INSTALL_LIBDIR is, such as lib
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$(realpath "$1")
libdir=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
consumer=$source/test/consumer
prefix="$scratch/moved here"
version=$("$source/build.sh" version)
cd /
unset DESTDIR

die() {
    echo "install.sh: $*" >&2
    exit 1
}

# The programs, and how each is compiled: the one with a coroutine only where the compiler has that.
sources=(hello.c hello.cpp)
declare -A compilers=([hello.c]=${CC:-cc} [hello.cpp]="${CXX:-c++} -std=c++17"
    [hello_coroutine.cpp]="${CXX:-c++} -std=c++20")
if ${compilers[hello_coroutine.cpp]} -x c++ -fsyntax-only - <<<'#include <stop_token>
static_assert(__cpp_impl_coroutine && __cpp_lib_jthread);' 2>/dev/null; then
    sources+=(hello_coroutine.cpp)
fi

# check_programs DIRECTORY WAY: all say hello; those with the shared library get it by its SONAME, and the
# others do not need it.
check_programs() {
    local program output needed programs
    programs=("${sources[@]/%/_loop}" "${sources[@]/%/_static}")
    for program in "${programs[@]//./_}"; do
        output=$("$1/$program") || die "$2: $program fails"
        [[ $output == "hello from libloop $version, result 0" ]] || die "$2: $program prints $output"
        needed=$(objdump -p "$1/$program" | grep -c "NEEDED *libloop.so.${version%%.*}\$" || true)
        [[ $needed == $([[ $program == *_loop ]] && echo 1 || echo 0) ]] ||
            die "$2: $program needs libloop.so $needed times"
    done
    echo "ok: $2"
}

# by_cmake WAY GENERATOR ARGUMENT...
by_cmake() {
    local directory="$scratch/$1 $2"
    cmake -S "$consumer" -B "$directory" -G "$2" "-DLOOP_FROM=$1" "${@:3}" \
        "-DSOURCES=$(IFS=';'; echo "${sources[*]}")" >/dev/null
    cmake --build "$directory" >/dev/null
    check_programs "$directory" "$1, $2"
}

# by_compiler: what the page on installing says, without any tool.
by_compiler() {
    local directory=$scratch/bare source
    mkdir "$directory"
    for source in "${sources[@]}"; do
        ${compilers[$source]} "$consumer/$source" "-I$prefix/include" "-L$prefix/$libdir" \
            "-Wl,-rpath,$prefix/$libdir" -lloop -o "$directory/${source/./_}_loop"
        ${compilers[$source]} "$consumer/$source" "-I$prefix/include" "$prefix/$libdir/libloop.a" -lpthread \
            -o "$directory/${source/./_}_static"
    done
    check_programs "$directory" "the bare compilers"
}

# by_make: pkg-config finds what was moved, its file being relative to itself. It takes no spaces in paths.
by_make() {
    mkdir "$scratch/make"
    ln -s "$prefix" "$scratch/prefix"
    PKG_CONFIG_PATH=$scratch/prefix/$libdir/pkgconfig LDFLAGS= LD_RUN_PATH=$prefix/$libdir \
        make -C "$scratch/make" -f "$consumer/Makefile" "SOURCES=${sources[*]}" >/dev/null
    check_programs "$scratch/make" "pkg-config and make"
}

DESTDIR=$scratch/stage cmake --install "$build" --prefix /opt/loop >/dev/null
cp -r "$scratch/stage/opt/loop" "$prefix"

for file in include/loop.h include/loop.hpp include/loop/core.hpp \
    "$libdir"/{libloop.so,"libloop.so.${version%%.*}","libloop.so.$version",libloop.a} \
    "$libdir"/{pkgconfig/libloop.pc,cmake/loop/loopConfig.cmake,cmake/loop/loopConfigVersion.cmake} \
    share/man/man3/loop_read.3 share/man/man7/libloop.7 \
    share/doc/libloop/{LICENSE,README.md,docs/guide.md,examples_c/{next_tick.c,http_server/parser.h}}; do
    [[ -s $prefix/$file ]] || die "$file is not installed"
done
[[ $(readlink "$prefix/$libdir/libloop.so") == "libloop.so.${version%%.*}" ]] || die "libloop.so is no link"
! grep -rlIF -e "$source" -e "$build" -e /opt/loop "$prefix" || die "these know where they were made"

by_cmake package Ninja "-DCMAKE_PREFIX_PATH=$prefix"
by_cmake package "Unix Makefiles" "-DCMAKE_PREFIX_PATH=$prefix"
by_make
by_compiler
by_cmake subdirectory Ninja "-DLOOP_SOURCE=$source"
by_cmake fetch "Unix Makefiles" "-DLOOP_SOURCE=$source"

cmake --install "$build" --component debug --prefix "$prefix" >/dev/null
[[ -s $prefix/$libdir/.debug/libloop.so.$version.debug ]] || die "the debugging information is not installed"

# Another file in a directory of ours is not ours.
touch "$scratch/stage/opt/loop/include/other.h"
DESTDIR=$scratch/stage \
    cmake "-DMANIFEST=$build/install_manifest.txt" -P "$source/cmake/uninstall.cmake" >/dev/null
left=$(cd "$scratch/stage/opt/loop" && find . -type f -o -type l -o -name '*loop*')
[[ $left == ./include/other.h ]] || die "after uninstalling there is still $left"
echo "ok: uninstalled"
