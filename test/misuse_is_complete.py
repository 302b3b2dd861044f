#!/usr/bin/env python3
"""Checks that the tests of misuse forget no function: each one that include/loop.h declares is called in
test/conform_misuse.c or test/conform_socket_misuse.c, or is in the list below, with the suite that misuses
it. A name that the list does not need is wrong, too.

Usage: misuse_is_complete.py SOURCE_DIRECTORY
"""

import pathlib
import re
import sys

TABLES = ["test/conform_misuse.c", "test/conform_socket_misuse.c"]

ELSEWHERE = {
    "loop_buffer": "test/conform_buffers.c",
    "loop_getaddrinfo": "test/conform_names.c",
    "loop_getnameinfo": "test/conform_names.c",
    "loop_post": "test/conform_posts.c",
    "loop_set_strand": "test/conform_strands.c",
}


def is_misused(name: str, suite: str) -> bool:
    """Whether a suite wants a refusal from the function."""
    return re.search(rf"\b{name}\([^;]*\bLOOP_EINVAL\b|assert_null\({name}\(NULL\)", suite) is not None


def called(text: str) -> set[str]:
    """The functions that C source calls, by themselves or through the macros of the tests."""
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return set(re.findall(r"\b(loop_[a-z0-9_]+)\s*[(,]", code))


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    header = (root / "include/loop.h").read_text()
    declared = set(re.findall(r"^LOOP_API [^(]*?\b(loop_[a-z0-9_]+)\(", header, flags=re.M))
    covered = set().union(*(called((root / table).read_text()) for table in TABLES))
    problems = [f"{name}: misused by no test" for name in sorted(declared - covered - ELSEWHERE.keys())]
    for name, suite in sorted(ELSEWHERE.items()):
        if name not in declared:
            problems.append(f"{name}: not a function of the header")
        elif name in covered:
            problems.append(f"{name}: is in the tables, and need not be listed")
        elif not is_misused(name, (root / suite).read_text()):
            problems.append(f"{name}: not misused in {suite}")
    for problem in problems:
        print(problem)
    print(f"{len(declared)} functions, {len(problems)} problems")
    return 1 if problems or not declared else 0


if __name__ == "__main__":
    sys.exit(main())
