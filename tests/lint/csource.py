"""C source as the lints read it: files of the tree, and text without comments and strings.

Relies on the layout that clang-format holds (a function's braces stand in column 0); parses no C.
"""

import re
from pathlib import Path

TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def files(root, rooms, suffixes=(".c", ".h")):
    """Every source file below the rooms ("lib", "daemon", "tests"), sorted."""
    found = []
    for room in rooms:
        found += [p for p in sorted((Path(root) / room).rglob("*")) if p.suffix in suffixes]
    return found


def bare(text):
    """The text with comments blanked and strings emptied; every line keeps its number."""

    def blank(match):
        token = match.group()
        if token[0] in "\"'":
            return token[0] * 2
        return re.sub(r"[^\n]", " ", token)

    return TOKEN.sub(blank, text)


def report(problems):
    """Prints them; the exit status."""
    for p in problems:
        print(p)
    return 1 if problems else 0
