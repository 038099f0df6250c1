#!/usr/bin/env python3
"""The shape of the C code: lengths, widths, parameters, globals, macros, headers' first lines.

    shape.py ROOT

tests are held to everything but the rules on globals and on headers' first lines.
"""

import re
import sys
from pathlib import Path

import csource

FUNCTION_MAX_LINES = 80
FILE_MAX_LINES = 700
HEADER_MAX_LINES = 120
LINE_MAX_COLUMNS = 100
OPENING_MAX_LINES = 10
MAX_PARAMETERS = 5

# The only mutable file-scope variables of the project.
MUTABLE_ALLOWED = {"lib/base/log.c": {"log_level", "log_to_journal"}}

ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)|_Alignas\s*\([^()]*\)")
TABLE = re.compile(r"^ +static const\b[^;]*?=\s*\{.*?^ +\};\n", re.S | re.M)
JUMP = re.compile(r"\b(return|goto|break|continue)\b")


def without_directives(text):
    """Blanks preprocessor lines with their continuations; every line keeps its number."""
    return re.sub(
        r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
        lambda m: re.sub(r"[^\n]", " ", m.group()),
        text,
        flags=re.M,
    )


def statements(text):
    """File-scope statements as (line, text), with what braces hold taken out: "int f(void) {}"."""
    found, depth, start, at = [], 0, None, []
    line = 1
    for c in text:
        line += c == "\n"
        if depth == 0 and start is None and not c.isspace():
            start = line
        if c == "{":
            depth += 1
            at += "{" if depth == 1 else ""
        elif c == "}":
            depth -= 1
            at += "}" if depth == 0 else ""
        elif depth == 0:
            at.append(c)
        body_ends = c == "}" and depth == 0 and is_function("".join(at))
        if start is not None and depth == 0 and (c == ";" or body_ends):
            found.append((start, " ".join("".join(at).split())))
            start, at = None, []
    return found


def is_function(statement):
    head = strip_attributes(statement)
    return "=" not in head and bool(re.search(r"\)[^(){}]*\{\}$", head))


def strip_attributes(statement):
    """Without attributes, and without the macro calls that stand before a declaration."""
    text = ATTRIBUTE.sub("", statement)
    text = re.sub(r"^(?:[A-Z][A-Z0-9_]*\s*\([^()]*\)\s*)+", "", text.strip())
    return re.sub(r"\b_printf_\s*\([^()]*\)", "", text).strip()


def variable_name(statement):
    """The name of a variable that can change after start-up; None: it is none."""
    text = strip_attributes(statement)
    head = text.split("=")[0].rstrip("; ")
    if re.match(r"(typedef|_Static_assert|static_assert)\b", head) or not head:
        return None
    if re.fullmatch(r"(struct|union|enum)\s*\w*\s*(\{\})?", head):
        return None
    pointer = re.match(r"[^(]*\(\s*\*\s*(const\s+)?(\w+)", head)
    if pointer:
        return None if pointer.group(1) else pointer.group(2)
    if "(" in re.sub(r"_Atomic\s*\(", "_Atomic ", head):
        return None
    head = re.sub(r"\[[^\]]*\]", "", head)
    name = re.search(r"(\w+)\s*$", head)
    own = head[head.rfind("*") + 1 :]
    return None if re.search(r"\bconst\b", own) or not name else name.group(1)


def count_parameters(parameters):
    depth, n = 0, 1
    for c in parameters:
        depth += (c in "([") - (c in ")]")
        n += c == "," and depth == 0
    return n - (parameters.strip().endswith("..."))


def parameters_of(statement):
    """A function's (name, parameter count); None: no function."""
    text = strip_attributes(statement)
    match = re.match(r"[^=(]*?\b(\w+)\s*\(", text)
    if not match or text.startswith("typedef") or match.group(1) in ("_Static_assert",):
        return None
    depth, start = 0, match.end()
    for i in range(match.end() - 1, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return match.group(1), count_parameters(text[start:i])
    return None


def check_functions(path, text):
    """Lengths, from the brace in column 0 to the brace in column 0; static tables do not count."""
    problems, start, lines = [], None, text.split("\n")
    exempt = set()
    for m in TABLE.finditer(text):
        first = text.count("\n", 0, m.start())
        exempt.update(range(first, first + m.group().count("\n")))
    for i, line in enumerate(lines):
        if line == "{":
            start = i
        elif line == "}" and start is not None:
            n = sum(1 for k in range(start + 1, i) if k not in exempt)
            if n > FUNCTION_MAX_LINES:
                problems.append(f"{path}:{start + 1}: function of {n} lines")
            start = None
    return problems


def check_statements(path, text):
    problems = []
    for line, statement in statements(without_directives(text)):
        function = parameters_of(statement)
        if function and function[1] > MAX_PARAMETERS:
            problems.append(f"{path}:{line}: {function[0]} has {function[1]} parameters")
    return problems


def check_globals(path, text):
    allowed = MUTABLE_ALLOWED.get(path, set())
    text = without_directives(text)
    found = [(n, s) for n, s in statements(text) if not is_function(s)]
    for m in re.finditer(r"^ +(static\b[^;{=]*)", text, re.M):
        found.append((text.count("\n", 0, m.start()) + 1, m.group(1) + ";"))
    problems = []
    for line, statement in found:
        name = variable_name(statement)
        if name and name not in allowed:
            problems.append(f"{path}:{line}: {name}: a global variable that can change")
    return problems


def check_macros(path, text):
    problems = []
    for m in re.finditer(r"^[ \t]*#[ \t]*define[ \t]+(\w+)((?:[^\n]*\\\n)*[^\n]*)", text, re.M):
        jump = JUMP.search(m.group(2))
        if jump:
            line = text.count("\n", 0, m.start()) + 1
            problems.append(f"{path}:{line}: macro {m.group(1)} holds {jump.group()}")
    return problems


def check_lines(path, raw):
    problems, lines = [], raw.split("\n")
    limit = HEADER_MAX_LINES if path.endswith(".h") else FILE_MAX_LINES
    if len(lines) - 1 > limit:
        problems.append(f"{path}: {len(lines) - 1} lines, more than {limit}")
    for i, line in enumerate(lines, 1):
        if len(line) > LINE_MAX_COLUMNS:
            problems.append(f"{path}:{i}: {len(line)} columns")
    return problems


def check_opening(path, raw):
    if not path.endswith(".h"):
        return []
    opening = re.match(r"/\*.*?\*/", raw, re.S)
    if not opening:
        return [f"{path}:1: a header opens with a comment: what it is, whose, what it never does"]
    n = opening.group().count("\n") + 1
    return [f"{path}:1: opens with {n} lines of comment"] if n > OPENING_MAX_LINES else []


def check_file(path, raw):
    text = csource.bare(raw)
    problems = check_lines(path, raw) + check_functions(path, text)
    problems += check_statements(path, text) + check_macros(path, text)
    if not path.startswith("tests/"):
        problems += check_globals(path, text) + check_opening(path, raw)
    return problems


def main():
    root, problems = Path(sys.argv[1]), []
    for path in csource.files(root, ("lib", "daemon", "tests")):
        problems += check_file(str(path.relative_to(root)), path.read_text())
    return csource.report(problems)


if __name__ == "__main__":
    sys.exit(main())
