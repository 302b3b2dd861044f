#!/usr/bin/env bash
# A new user's first program in C++, as docs/install.md has it: install, write hello.cpp and a
# CMakeLists.txt with find_package, build, run.
source "$(dirname "${BASH_SOURCE[0]}")/new_user.sh"

documented install
file cpp hello.cpp
file cmake CMakeLists.txt
run cmake
