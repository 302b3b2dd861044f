#!/usr/bin/env bash
# Compiles suites of loop.hpp with a compiler of one's choice, optimised, and runs them with one thread and
# with four.
#
#   test/cpp_compiler.sh COMPILER LIBRARY SUITE...       for instance clang++ build/libloop.so cpp_tasks
#
# SPDX-License-Identifier: MIT
set -euo pipefail

compiler=$1 library=$(realpath "$2")
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
flags=(-std=c++20 -O2 -Wall -Wextra -Wpedantic -Wconversion -Werror -I../include)

"$compiler" "${flags[@]}" -c cpp_support.cpp -o "$scratch/support.o"
for suite; do
    "$compiler" "${flags[@]}" "$suite.cpp" "$scratch/support.o" "$library" \
        -Wl,-rpath,"${library%/*}" -lpthread -o "$scratch/$suite"
    for threads in 1 4; do
        echo "== $suite, threads: $threads"
        LOOP_TEST_THREADS=$threads "$scratch/$suite"
    done
done
