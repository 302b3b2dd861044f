#!/usr/bin/env python3
"""Gives Doxygen include/loop.h, or a header of C++, with the marks that it wants; see docs/Doxyfile.

    doxygen_filter.py HEADER

In the headers themselves the comments are plain text. Here each one becomes a documentation comment,
parameters become @param, and the list of errors becomes the enumerators that the compiler sees. In C++ the
comments that begin with /** are documentation already; one is about all members up to the next empty line,
and members without one are left out: they are what one expects, or for the parts of the library.
"""

import re
import sys

import header

WORDS = {"Returns": "@return", "Delivers": "@par Result of the request\n", "Threads": "@par Threads\n"}
ERROR = re.compile(r' *XX\((\w+), (\d+), "(.*?)"\)')


def marked(text):
    """Text without what Doxygen would take for commands or markup: of these only `code` is meant."""
    text = text.replace("\\", "\\\\").replace("@", "\\@").replace("<", "\\<").replace("#", "\\#")
    return re.sub(r"(?<![`\w])(\*|_)(?=\W)|(?<=\w)\*(?!\w)", lambda found: "\\" + found[0], text)


def comment_of(entry):
    """The documentation comment of an entry."""
    parts = []
    for item in entry.items:
        if item.code:
            parts.append(f"@code\n{item.text}\n@endcode")
        elif item.label is None:
            parts.append(marked(item.text))
        elif item.label == "":
            parts.append(f"\n{marked(item.text)}\n")
        elif item.label in WORDS and entry.section:
            parts.append(f"{WORDS[item.label]} {marked(item.text)}")
        elif item.label.startswith("LOOP_E"):
            parts.append(f"- {item.label}: {marked(item.text)}")
        elif entry.section:
            parts.append(f"@param {item.label.replace(', ', ',')} {marked(item.text)}")
        else:
            parts.append(f"@par {item.label}\n{marked(item.text)}")
    return "\n\n".join(parts)


def enumerators(text):
    """The enumerators that the maps of errors make."""
    return "".join(f"    LOOP_{name} = -{number}, /**< {message} */\n"
                   for name, number, message in ERROR.findall(text))


def cpp_filtered(text, name):
    """A header of C++."""
    head, text = text.split("*/", 1)
    text = re.sub(r"namespace detail \{\n(?:.|\n)*?\n\} // namespace detail\n", hidden, text)
    text = re.sub(r"(?<=[\n:]\n)(?! {5}| {4}/\*\*| {4}/\* -|#)(?:(?: {4}|#).+\n)+", hidden, text)
    text = re.sub(r"(?m)^( {4})?/\*\*(?:.|\n)*?\*/\n(?(1)(?:(?: {4}|#).+\n)*)", documented, text)
    text = re.sub(r"; +/\* (.*) \*/\n", r"; /**< \1 */\n", text)
    about = comment_of(header.Entry("", header.items_of(head + "*/"), ""))
    return f"/** @file {name}\n{about}\n*/{text}"


def hidden(found):
    """What is not documented: as many empty lines."""
    return "\n" * found[0].count("\n")


def documented(found):
    """A documentation comment, with the members that it is about, if it is about members."""
    comment, members = found[0].split("*/\n", 1)
    about = comment_of(header.Entry("", header.items_of(comment.strip() + "*/"), ""))
    return f"/** @{{ */\n/** {about} */\n{members}/** @}} */\n" if members else f"/** {about} */\n"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    if sys.argv[1].endswith(".hpp"):
        print(cpp_filtered(text, sys.argv[1].rpartition("include/")[2]))
    else:
        print(c_filtered(text))


def c_filtered(text):
    """include/loop.h."""
    head, *_ = entries = list(header.entries(text))
    result = text
    for entry in entries[1:]:
        if not entry.declaration:
            continue
        at = result.index(entry.declaration)
        start = result.rindex("/*", 0, at)
        result = f"{result[:start]}/**\n{comment_of(entry)}\n*/\n{result[at:]}"
    # Trailing comments of fields, enumerators and macros; sections; errors.
    result = re.sub(r"(?m)^(?=.*\S.*/\*)(?!#define \w+\(|#if|#e)(.*?\S.*?)/\* (?!\*)", r"\1/**< ", result)
    result = re.sub(r"/\* -{4} ([^-].*?) -+ \*/", r"/** @} */\n/** @name \1\n @{ */", result)
    result = result.replace("/** @} */\n", "", 1)
    result = result.replace("    LOOP_ERROR_MAP(LOOP_ERROR_ENUM) LOOP_NAME_ERROR_MAP(LOOP_ERROR_ENUM)\n",
                            enumerators(text))
    head_end = result.index("*/") + 2
    return (f"/** @file loop.h\nThe interface of libloop. */\n/** @mainpage libloop\n{comment_of(head)}\n*/\n"
            + result[head_end:].replace('#ifdef __cplusplus\n}\n', '/** @} */\n#ifdef __cplusplus\n}\n'))


main()
