#!/usr/bin/env python3
"""Each lint finds what is seeded for it, and nothing in a clean tree.

    self-test.py LINTS_DIR CLANG_FORMAT_FILE
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = "/* A thing. */\n#pragma once\n"
CLEAN = {
    "lib/base/thing.h": HEADER + "int thing(int a, int b, int c, int d, int e);\n",
    "lib/base/thing.c": '#include "thing.h"\n\n#include <errno.h>\n\n'
    'static const char *const names[] = {"return", NULL};\n\n'
    "int thing(int a, int b, int c, int d, int e)\n{\n        return a + b + c + d + e;\n}\n",
    "lib/wire/field.h": HEADER + "#include <jansson.h>\n",
    "lib/format/bundle.proto": 'syntax = "proto3";\n',
    "lib/format/bundle.c": '#include "bundle.pb-c.h"\n#include "thing.h"\n',
    "daemon/store/slot.h": HEADER + '/* #include "catalog.h" */\n#include "field.h"\n',
    "daemon/catalog/catalog.h": HEADER,
    "tests/unit/test-thing.c": "static int count;\n",
}


def function(n):
    return "void f(void)\n{\n" + "        g();\n" * n + "}\n"


def table(n):
    return (
        "void f(void)\n{\n        static const int t[] = {\n"
        + "                1,\n" * n
        + "        };\n}\n"
    )


# lint: file, its text, what the lint says of it (None: nothing).
SEEDED = {
    "floors.py": [
        ("lib/base/up.c", '#include "field.h"\n', "base may not include from wire"),
        ("lib/wire/side.c", '#include "b.h"\n', "no such file"),
        ("lib/wire/deep.c", '#include "base/thing.h"\n', "bare file name"),
        ("daemon/store/beside.c", '#include "catalog.h"\n', "store may not include from catalog"),
        ("daemon/ctl/list.c", '#include "catalog.h"\n', "ctl may not include from catalog"),
        ("lib/client/c.c", '#include "bundle.pb-c.h"\n', "client may not include from format"),
        ("daemon/conf/j.c", "#include <jansson.h>\n", "<jansson.h>: not for conf"),
        ("daemon/model/u.c", "#include <uv.h>\n", "<uv.h>: not for model"),
        ("daemon/store/s.c", "#include <sqlite3.h>\n", "<sqlite3.h>: not for store"),
        ("daemon/manager/o.c", "#include <nettle/sha2.h>\n", "<nettle/sha2.h>: not for manager"),
        ("lib/wire/z.c", "#include <zlib.h>\n", "unknown library"),
        ("daemon/store/thing.h", HEADER, "the name is taken by lib/base/thing.h"),
        ("daemon/other/x.c", "", "lies in no room"),
        ("daemon/manager/m.c", '#include "slot.h"\n#include "catalog.h"\n', None),
        ("daemon/methods-admin.c", '#include "slot.h"\n#include <jansson.h>\n', None),
        ("daemon/main.c", '#include "slot.h"\n#include <uv.h>\n', None),
    ],
    "shape.py": [
        ("lib/base/long.c", function(81), "function of 81 lines"),
        ("lib/base/long.c", function(80), None),
        ("lib/base/long.c", table(200), None),
        ("lib/base/big.c", "\n" * 701, "701 lines"),
        ("lib/base/big.h", HEADER + "\n" * 119, "121 lines"),
        ("tests/unit/wide.c", "/* " + "x" * 98 + "\n*/\n", "101 columns"),
        (
            "lib/base/many.h",
            HEADER + "int f(int a, int b, int c,\n int d, int e, int f);\n",
            "6 par",
        ),
        (
            "lib/base/many.h",
            HEADER + "int f(int a, int (*b)(int, int), int c, int d, int e);\n",
            None,
        ),
        ("lib/base/many.c", "int f(int a, int b, int c, int d, int e, int f)\n{\n}\n", "6 par"),
        ("lib/base/var.c", "static int counter;\n", "counter"),
        ("lib/base/var.c", "static _Atomic int counter = 5;\n", "counter"),
        ("lib/base/var.c", 'static const char *names[] = {"a"};\n', "names"),
        ("lib/base/var.c", "struct x *head;\n", "head"),
        ("lib/base/var.c", "static struct { int a; } pair;\n", "pair"),
        ("lib/base/var.c", "static int (*hook)(int);\n", "hook"),
        ("lib/base/var.c", "void f(void)\n{\n        static int once = 0;\n}\n", "once"),
        ("lib/base/var.c", "static int log_level;\n", "log_level"),
        ("lib/base/log.c", "static int log_level = 2;\n", None),
        ("lib/base/var.c", "static const struct { int a; } t[] = {{1}};\nstruct x;\n", None),
        (
            "lib/base/var.c",
            "void f(void)\n{\n        static const int a = 1;\n        int b;\n}\n",
            None,
        ),
        ("lib/base/var.c", "static int (*const hooks[])(int) = {f};\ntypedef int t;\n", None),
        ("lib/base/var.c", "enum e { A };\nextern const int x;\nstatic int f(int a);\n", None),
        (
            "lib/base/mac.h",
            HEADER + "#define TRY(x) \\\n        if (x) \\\n  return 1\n",
            "holds return",
        ),
        ("tests/unit/mac.c", "#define OUT goto out\n", "holds goto"),
        ("lib/base/mac.c", '#define TEXT "return" /* break */\n', None),
        ("lib/base/bare.h", "#pragma once\n", "opens with a comment"),
        ("lib/base/bare.h", "/* a\n" + " * b\n" * 10 + " */\n", "12 lines of comment"),
    ],
    "format.sh": [
        ("tests/unit/ugly.c", "int f(void) { return 1; }\n", "ugly.c:1"),
        ("lib/base/ugly.h", "int  f(void);\n", "ugly.h:1"),
    ],
}


def run(lint, tree):
    program = [sys.executable] if lint.suffix == ".py" else ["sh"]
    done = subprocess.run(
        [*program, str(lint), str(tree)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def check(lint, style, seed):
    """What the lint does wrong with a clean tree and one seeded file; None: nothing."""
    with tempfile.TemporaryDirectory() as tree:
        shutil.copy(style, tree)
        path, text, says = seed or (None, None, None)
        for name, content in {**CLEAN, **({path: text} if path else {})}.items():
            (Path(tree) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(tree) / name).write_text(content)
        rc, out = run(lint, tree)
    if says is None:
        return None if rc == 0 else f"{path}: finds fault:\n{out}"
    if rc == 0 or says not in out or path not in out:
        return f"{path}: does not say '{says}' (exit {rc}):\n{out}"
    return None


def main():
    failures = 0
    for name, seeds in SEEDED.items():
        for seed in [None, *seeds]:
            problem = check(Path(sys.argv[1]) / name, sys.argv[2], seed)
            if problem:
                print(f"{name}: {problem}")
                failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
