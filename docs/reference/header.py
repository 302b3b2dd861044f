"""Reads include/loop.h: its sections, its comments, and what each comment is about.

A comment is plain text with a little order in it, which is all that this needs to know:

    Words that say what it is.

    label     More words: `label` is a parameter, or Returns, Delivers, Threads, or a rule at the top of the
              file. What follows is part of it as long as it is indented.
        code that stands by itself, indented by four columns or more
"""

import re
import textwrap
from typing import NamedTuple

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
SECTION = re.compile(r"/\* -{4} ([^-].*?) -+ \*/")
LABEL = re.compile(r"(?P<indent>|  )(?P<label>[A-Za-z_]\w*(?:, [A-Za-z_]\w*)*) {2,}(?P<text>\S.*)")
ERROR = re.compile(r"(?P<indent> {14})(?P<label>LOOP_E[A-Z]+) +(?P<text>\S.*)")
FUNCTION = re.compile(r"LOOP_API (?P<result>[^(;]*?)(?P<name>loop_\w+)\((?P<parameters>.*)\);", re.DOTALL)


class Item(NamedTuple):
    """A part of a comment: text (label None), labelled text, or code. Label "" = the text goes on that a list
    of errors interrupted."""

    label: str | None
    text: str
    code: bool = False


class Entry(NamedTuple):
    """A comment, and the declaration that follows it."""

    section: str
    items: list[Item]
    declaration: str

    @property
    def name(self):
        """The function, type or macro that the declaration begins with."""
        declaration = COMMENT.sub("", self.declaration)
        for pattern in (r"LOOP_API .*?\b(loop_\w+)\(", r"#define (\w+)", r"\(\*(\w+)\)", r"\} (\w+);",
                        r"struct \w+ (\w+);", r"(\w+);"):
            if found := re.match(r"struct (\w+) \{", declaration):
                return found[1] + "_t"
            if found := re.search(pattern, declaration, re.DOTALL):
                return found[1]
        return ""

    @property
    def parameters(self):
        """The names of the parameters of a function."""
        found = FUNCTION.fullmatch(self.declaration.strip())
        if not found or found["parameters"] == "void":
            return []
        parts = re.split(r",(?![^()]*\))", found["parameters"])
        names = [re.search(r"\(\*(\w+)\)", part) or re.search(r"(\w+)$", part.strip()) for part in parts]
        return [name[1] for name in names]


def lines_of(comment):
    """The lines of a comment without its frame."""
    body = re.sub(r"^/\*\*?<?|\*/$", "", comment)
    return [re.sub(r"^ *\* ?", "", line) if number else line.strip()
            for number, line in enumerate(body.split("\n"))]


def items_of(comment):
    """The parts of a comment, in order."""
    items, label, block = [], None, []

    def finish():
        nonlocal label, block
        if any(line.strip() for line in block):
            code = label is None and all(line.startswith("    ") for line in block if line)
            text = textwrap.dedent("\n".join(block)).strip("\n")
            items.append(Item(label, text if code else " ".join(text.split()), code))
        label, block = None, []

    for line in lines_of(comment):
        if found := LABEL.fullmatch(line) or ERROR.fullmatch(line):
            finish()
            label, block = found["label"], [found["text"]]
        elif label and label.startswith("LOOP_E") and re.match(r" {,13}\S", line):
            finish()
            label, block = "", [line]
        elif not line.strip():
            # Code may have empty lines in it; everything else ends with one.
            if not (block and label is None and block[-1].startswith("    ")):
                finish()
        elif label is None and block and line.startswith("    ") != block[-1].startswith("    "):
            finish()
            block = [line]
        else:
            block.append(line)
    finish()
    return items


def declaration_at(text, start):
    """The declaration that begins at `start`: to its semicolon or, of a macro, to the end of its lines."""
    rest = text[start:].lstrip("\n")
    if rest.startswith("#define"):
        return re.match(r"(?:.*\\\n)*.*", rest)[0]
    depth = 0
    plain = COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), rest)
    for position, character in enumerate(plain):
        depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(character, 0)
        if character == ";" and depth == 0:
            return rest[:position + 1]
    return ""


def entries(text):
    """Yields an entry for the head of the file (without a declaration) and one for each comment that has a
    declaration below it."""
    section = ""
    for number, found in enumerate(COMMENT.finditer(text)):
        line_start = text.rfind("\n", 0, found.start()) + 1
        if number == 0:
            yield Entry("", items_of(found[0]), "")
        elif heading := SECTION.fullmatch(found[0]):
            section = heading[1]
        elif found.start() == line_start and text[found.end():found.end() + 1] == "\n":
            following = text[found.end() + 1:]
            declaration = declaration_at(text, found.end()) if following[:1] not in ("\n", "") else ""
            yield Entry(section, items_of(found[0]), declaration)
