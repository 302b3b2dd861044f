#!/usr/bin/env bash
# A new user's first program in C, as docs/install.md has it: install, write hello.c and a Makefile with
# pkg-config, make, run; once more with the bare compiler; read the manual; uninstall.
source "$(dirname "${BASH_SOURCE[0]}")/new_user.sh"

documented install
file c hello.c
file make Makefile
run make
rm "$scratch/project/hello"
run compiler
[[ $(env -i man -M "$scratch/libloop/share/man" 3 loop_read | col -b) == *"int loop_read(loop_t *loop"* ]] ||
    { echo "man 3 loop_read finds no page"; exit 1; }
echo "ok: man"

(cd "$source" && ./build.sh uninstall >/dev/null)
[[ ! $(find "$scratch/libloop" ! -type d) ]] || { echo "left: $(find "$scratch/libloop" ! -type d)"; exit 1; }
echo "ok: uninstall"
