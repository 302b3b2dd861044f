#!/usr/bin/env python3
"""Writes the manual from include/loop.h: a page for each function and struct, and libloop(7) with the rules.

    manual.py HEADER DIRECTORY      DIRECTORY gets man3/ and man7/

A label in a comment that is neither a parameter nor one of the known words is an error: nothing is dropped.
"""

import pathlib
import re
import sys

import header

HEADINGS = {"Returns": "RETURN VALUE", "Delivers": "RESULT OF THE REQUEST", "Threads": "THREADS"}
DATE = "2026-11-01"  # of this version of the pages; a constant, so that they are the same wherever made


def roff(text):
    """Text that roff takes as it is: no request, no escape; code words in bold, pages referred to in bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"`([^`]+)`", r"\\fI\1\\fP", text)
    text = re.sub(r"\b(loop_[a-z_]*[a-z])\b(?![.(])", r"\\fB\1\\fP(3)", text)
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def code(text):
    """Lines of code as they are."""
    lines = re.sub(r"(?m)^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"))
    return f".nf\n{lines}\n.fi\n"


def title(name, section, version, summary):
    return (f'.TH {name} {section} "{DATE}" "libloop {version}" "libloop"\n'
            f".SH NAME\n{name} \\- {summary}\n")


def summary_of(entry):
    """The first sentence of a comment, or what stands before its first colon, for the line of NAME."""
    first = re.match(r".*?[^.](?=[.:;](?: |$)|$)", entry.items[0].text, re.DOTALL)[0]
    return first[:1].lower() + first[1:]


def body_of(entry):
    """The sections from DESCRIPTION on."""
    pages, parameters = [".SH DESCRIPTION\n"], []
    for item in entry.items:
        if item.code:
            pages.append(".PP\n" + code(item.text))
        elif item.label is None:
            pages.append(f".PP\n{roff(item.text)}\n" if len(pages) > 1 else f"{roff(item.text)}\n")
        elif item.label in HEADINGS:
            pages.append(f".SH {HEADINGS[item.label]}\n{roff(item.text)}\n")
        elif set(item.label.split(", ")) <= set(entry.parameters):
            parameters.append(f".TP\n.I {item.label}\n{roff(item.text)}\n")
        else:
            sys.exit(f"{entry.name}: {item.label} is not a parameter, nor any other label")
    if parameters:
        pages.insert(2, ".SH PARAMETERS\n" + "".join(parameters))
    return "".join(pages)


def page(entry, version, neighbours):
    """The page of a function or type."""
    summary = summary_of(entry)
    others = [f"\\fB{name}\\fP(3)" for name in neighbours if name != entry.name][:8]
    declaration = entry.declaration
    if declaration.startswith("LOOP_API "):
        declaration = declaration.removeprefix("LOOP_API ").replace("\n" + 9 * " ", "\n")
    return (title(entry.name, 3, version, roff_plain(summary))
            + ".SH SYNOPSIS\n.nf\n.B #include <loop.h>\n.sp\n.fi\n" + code(declaration)
            + body_of(entry)
            + ".SH SEE ALSO\n" + ",\n".join([r"\fBlibloop\fP(7)", *others]) + "\n")


def roff_plain(text):
    """As roff, for the line of NAME, which takes no fonts."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")


def overview(head, entries, version):
    """libloop(7): the rules, and a list of all pages."""
    parts = [title("libloop", 7, version, "an event loop for C, C++ and every language with a C FFI"),
             ".SH DESCRIPTION\n"]
    for item in head.items[1:]:
        if item.text.startswith("SPDX-"):
            continue
        if item.code:
            parts.append(code(item.text))
        elif item.label is None and item.text.startswith("THE RULES"):
            parts.append(f".SH RULES\n{roff(item.text.removeprefix('THE RULES, ').capitalize())}\n")
        elif item.label is None:
            parts.append(".PP\n" * (item is not head.items[1]) + f"{roff(item.text)}\n")
        elif item.label == "":
            parts.append(f".IP\n{roff(item.text)}\n")
        elif item.label.startswith("LOOP_"):
            parts.append(f".RS\n.TP\n.B {item.label}\n{roff(item.text)}\n.RE\n")
        else:
            parts.append(f".TP\n.B {item.label}\n{roff(item.text)}\n")
    parts.append(".SH FUNCTIONS AND TYPES\n")
    for section in dict.fromkeys(entry.section for entry in entries):
        names = [f"\\fB{entry.name}\\fP(3)" for entry in entries if entry.section == section]
        parts.append(f".TP\n.I {section}\n" + ",\n".join(names) + "\n")
    return "".join(parts)


def main():
    path, directory = map(pathlib.Path, sys.argv[1:])
    text = path.read_text(encoding="utf-8")
    version = re.search(r'#define LOOP_VERSION_STRING "(.*)"', text)[1]
    head, *entries = header.entries(text)
    entries = [entry for entry in entries if entry.name.startswith("loop_")]
    for section in ("man3", "man7"):
        (directory / section).mkdir(parents=True, exist_ok=True)
    for entry in entries:
        neighbours = [other.name for other in entries if other.section == entry.section]
        text = page(entry, version, neighbours)
        (directory / "man3" / f"{entry.name}.3").write_text(text, encoding="utf-8")
    (directory / "man7" / "libloop.7").write_text(overview(head, entries, version), encoding="utf-8")


main()
