#!/usr/bin/env python3
"""Which room includes which, and which outside library each may use.

    floors.py ROOT

A room includes from itself and from lower floors; rooms of one floor do not know each other.
"""

import re
import sys
from fnmatch import fnmatch
from pathlib import Path, PurePath

import csource

# room: where its files lie, its floor, and, where lower floors are not the whole answer, what alone
# it may include.  The first pattern that matches names a file's room.
ROOMS = {
    "base": ("lib/base/*", 0, None),
    "wire": ("lib/wire/*", 1, None),
    "format": ("lib/format/*", 1, None),
    "client": ("lib/client/*", 2, {"base", "wire"}),
    "ctl": ("daemon/ctl/*", 3, {"client", "base", "format", "wire"}),
    "model": ("daemon/model/*", 2, None),
    "rpc": ("daemon/rpc/*", 3, None),
    "conf": ("daemon/conf/*", 3, None),
    "catalog": ("daemon/catalog/*", 3, None),
    "store": ("daemon/store/*", 3, None),
    "watch": ("daemon/watch/*", 3, None),
    "service": ("daemon/service/*", 3, None),
    "manager": ("daemon/manager/*", 4, None),
    "methods": ("daemon/methods*", 5, None),
    "metrics": ("daemon/metrics*", 5, None),
    "composition": ("daemon/*.[ch]", 6, None),
}

# An outside library's header: the rooms that may include it.
OUTSIDE = {
    "jansson.h": {
        *("wire", "format", "client", "rpc", "store", "catalog"),
        *("methods", "manager", "ctl"),
    },
    "uv.h": {"rpc", "store", "watch", "manager", "composition"},
    "yaml.h": {"conf"},
    "sqlite3.h": {"catalog"},
    "protobuf-c/*": {"format"},
    "isa-l.h": {"format"},
    "isa-l/*": {"format"},
    "libsmartcols.h": {"ctl"},
    "libsmartcols/*": {"ctl"},
    "nettle/*": {"ctl"},
    "microhttpd.h": {"metrics"},
    "systemd/*": {"service"},
}

LIBC_DIRS = {"sys", "linux", "arpa", "net", "netinet", "asm"}
LIBC = set("""
    aio alloca assert byteswap complex ctype dirent dlfcn elf endian err errno error fcntl features
    fenv float fnmatch ftw getopt glob grp iconv inttypes langinfo libgen limits link locale malloc
    math mntent mqueue netdb poll pthread pwd regex sched search semaphore setjmp signal spawn
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdio_ext stdlib stdnoreturn string
    strings syslog termios threads time uchar ucontext unistd utime wchar wctype wordexp
    cpuid immintrin
""".split())

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.M)


def room_of(path):
    """The room of a path below the root; None: it lies in none.  A folder within a room is the room's."""
    for room, (pattern, _, _) in ROOMS.items():
        if PurePath(path).match(pattern) or (room != "composition" and fnmatch(path, pattern)):
            return room
    return None


def may_include(room, other):
    _, floor, only = ROOMS[room]
    if room == other:
        return True
    return other in only if only is not None else ROOMS[other][1] < floor


def check_inside(room, name, where):
    """What is wrong with `#include "name"` in a room; None: nothing."""
    if "/" in name:
        return f'"{name}": include by bare file name'
    # protobuf-c makes x.pb-c.h from x.proto.
    source = where.get(re.sub(r"\.pb-c\.h$", ".proto", name))
    if not source:
        return f'"{name}": no such file in lib or daemon'
    other = room_of(source)
    if not may_include(room, other):
        return f'"{name}": {room} may not include from {other}'
    return None


def check_outside(room, name):
    if name.removesuffix(".h") in LIBC or name.split("/")[0] in LIBC_DIRS:
        return None
    for pattern, rooms in OUTSIDE.items():
        if fnmatch(name, pattern):
            return None if room in rooms else f"<{name}>: not for {room}"
    return f"<{name}>: unknown library; add it to tests/lint/floors.py"


def check_file(path, text, where):
    room = room_of(path)
    if not room:
        return [f"{path}: lies in no room"]
    problems = []
    for match in INCLUDE.finditer(csource.TOKEN.sub(keep_strings, text)):
        kind, name = match.groups()
        problem = check_inside(room, name, where) if kind == '"' else check_outside(room, name)
        if problem:
            line = text.count("\n", 0, match.start()) + 1
            problems.append(f"{path}:{line}: {problem}")
    return problems


def keep_strings(match):
    token = match.group()
    return token if token[0] in "\"'" else re.sub(r"[^\n]", " ", token)


def main():
    root = Path(sys.argv[1])
    where, problems = {}, []
    sources = csource.files(root, ("lib", "daemon"), (".c", ".h", ".proto", ".varlink", ".sql"))
    for path in sources:
        relative = str(path.relative_to(root))
        if path.name in where:
            problems.append(f"{relative}: the name is taken by {where[path.name]}")
        where.setdefault(path.name, relative)
    for path in sources:
        if path.suffix in (".c", ".h"):
            problems += check_file(str(path.relative_to(root)), path.read_text(), where)
    return csource.report(problems)


if __name__ == "__main__":
    sys.exit(main())
