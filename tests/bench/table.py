#!/usr/bin/env python3
"""The figures of run.sh as a Markdown table, below a line with the size of the machine.

    table.py DIRECTORY <FIGURES

DIRECTORY lies on the file system that was measured.
"""

import json
import os
import sys
from pathlib import Path


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return os.uname().machine


def memory_gib():
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return round(kib / 2**20)


def file_system(directory):
    """Type and device of the longest mount point above the directory."""
    directory = os.path.realpath(directory)
    best = ("", "?", "?")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, point, kind = line.split()[:3]
        point = point.encode().decode("unicode_escape")
        inside = directory == point or directory.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, kind, device)
    return f"{best[1]} on {best[2]}"


def number(value, unit):
    return "–" if value is None else f"{value:.4g} {unit}"


def row(figure):
    ratio = figure["ratio"]
    name = f"`{figure['figure']}`"
    if "attach" in figure:
        name += f" (attach: {number(figure['attach'], figure['unit'])})"
    cells = [
        name,
        number(figure["ours"], figure["unit"]),
        number(figure["limit"], figure["unit"]),
        "–" if ratio is None else f"{ratio:.2f}",
        figure["aim"].replace("<=", "≤"),
        "yes" if figure["met"] else "**no**",
    ]
    return "| " + " | ".join(cells) + " |"


def main():
    print(
        f"{os.cpu_count()} cores ({cpu_model()}), {memory_gib()} GiB of memory, "
        f"{file_system(sys.argv[1])}, Linux {os.uname().release}.\n"
    )
    print("| figure | ours | limit | ratio | aim | met |")
    print("|---|--:|--:|--:|---|---|")
    for line in sys.stdin:
        print(row(json.loads(line)))


if __name__ == "__main__":
    main()
