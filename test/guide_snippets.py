#!/usr/bin/env python3
"""Compiles and runs the programs in a guide, and compares what they print.

    guide_snippets.py GUIDE.md COMPILER INCLUDE_DIRECTORY LIBRARY

A program is a fenced block that begins with ```c program, ```cpp17 program or ```cpp program (C++20); the
block after it, which begins with ```output, is what it prints. Both must be there. Warnings count as errors.
The compiler is one for the language of the programs. ```c program NAME is one that uses what pkg-config knows
by that name, instead of libloop.
"""

import os
import re
import subprocess
import sys
import tempfile

FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
LANGUAGES = {"c": ["-std=c11", "-x", "c"], "cpp17": ["-std=c++17", "-x", "c++"],
             "cpp": ["-std=c++20", "-x", "c++"]}
BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIME_LIMIT_SECONDS = 60


def programs_of(text):
    """Yields the line, the flags of the language, the package (None = libloop), the source and the output of
    each program."""
    blocks = [(text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in BLOCK.finditer(text)]
    for index, (line, kind, source) in enumerate(blocks):
        language, is_program, package = kind.partition(" program")
        if not is_program:
            continue
        if index + 1 == len(blocks) or blocks[index + 1][1] != "output":
            sys.exit(f"line {line}: a program without output")
        yield line, LANGUAGES[language], package.strip() or None, source, blocks[index + 1][2]


def flags_of(package, include, library):
    """What the compiler has to be told to use libloop, or a package."""
    if package is None:
        directory = os.path.dirname(os.path.abspath(library))
        return [f"-I{include}", library, f"-Wl,-rpath,{directory}", "-lpthread"]
    command = ["pkg-config", "--cflags", "--libs", package]
    return subprocess.run(command, text=True, check=True, stdout=subprocess.PIPE).stdout.split()


def fault_of(language, source, output, compiler, flags):
    """Compiles and runs one program; returns what is wrong with it, or None."""
    with tempfile.TemporaryDirectory() as scratch:
        program = os.path.join(scratch, "program")
        command = [compiler, *FLAGS, *language, "-", "-x", "none", *flags, "-o", program]
        built = subprocess.run(command, input=source, text=True, capture_output=True)
        if built.returncode != 0:
            return built.stderr
        try:
            ran = subprocess.run([program], text=True, capture_output=True, timeout=TIME_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return "does not end"
    if ran.returncode != 0:
        return f"exit status {ran.returncode}\n{ran.stdout}{ran.stderr}"
    return None if ran.stdout == output else f"prints\n{ran.stdout}instead of\n{output}"


def main():
    guide, compiler, include, library = sys.argv[1:]
    with open(guide, encoding="utf-8") as file:
        programs = list(programs_of(file.read()))
    failures = 0
    for line, language, package, source, output in programs:
        fault = fault_of(language, source, output, compiler, flags_of(package, include, library))
        failures += fault is not None
        print(f"{guide}:{line}: {'ok' if fault is None else fault}")
    print(f"{len(programs)} programs, {failures} of them wrong")
    return 1 if failures or not programs else 0


sys.exit(main())
