#!/usr/bin/env bash
# A new user's first program in Python, as docs/install.md has it: build the wheel, install it into an
# environment of its own without a network, run.
source "$(dirname "${BASH_SOURCE[0]}")/new_user.sh"

documented wheel
file py hello.py
run pip
