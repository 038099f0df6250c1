"""Writes the C table of the interface texts: embed.py OUT FILE...; an interface is named like its file."""
import pathlib
import sys


def main(out, *files):
    lines = ['#include "idl.h"', ""]
    table = []
    for number, name in enumerate(files):
        path = pathlib.Path(name)
        data = path.read_bytes() + b"\0"
        lines.append(f"static const char text_{number}[] = {{")
        for at in range(0, len(data), 20):
            lines.append("        " + ", ".join(str(b) for b in data[at : at + 20]) + ",")
        lines.append("};")
        table.append(f'        {{"{path.stem}", text_{number}}},')
    lines += ["const struct wire_interface wire_interfaces[] = {", *table, "        {NULL, NULL},", "};", ""]
    pathlib.Path(out).write_text("\n".join(lines))


main(*sys.argv[1:])
