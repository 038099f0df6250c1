#!/usr/bin/env python3
"""Sums what tests/run.sh left: a line a suite, the failures in full, and a last line for all.

    report.py DIR

DIR/SUITE.json is meson's test log, DIR/SUITE.xml is pytest's, DIR/STEP.failed is the output of a
step that went wrong and counts as one failed test.  Exits 1 where anything failed or nothing ran.
"""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}


def meson_results(path):
    """(name, outcome, text) of every test."""
    for line in path.read_text().splitlines():
        test = json.loads(line)
        result = test["result"]
        outcome = "passed" if result in PASSED else "skipped" if result in SKIPPED else "failed"
        text = "\n".join(filter(None, (result, test.get("stdout"), test.get("stderr"))))
        yield test["name"], outcome, text


def pytest_results(path):
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        wrong = [c for c in case if c.tag in ("failure", "error")]
        if wrong:
            parts = wrong + [c for c in case if c.tag in ("system-out", "system-err")]
            yield name, "failed", "\n".join(c.text or "" for c in parts)
        elif case.find("skipped") is not None:
            yield name, "skipped", case.find("skipped").get("message") or ""
        else:
            yield name, "passed", ""


def step_result(path):
    yield path.stem, "failed", path.read_text(errors="replace")


READERS = {".json": meson_results, ".xml": pytest_results, ".failed": step_result}


def line_of(counts):
    return ", ".join(f"{counts[k]} {k}" for k in ("passed", "failed", "skipped"))


def count(results):
    return {k: sum(r[1] == k for r in results) for k in ("passed", "failed", "skipped")}


def main():
    everything = []
    paths = [p for p in sorted(Path(sys.argv[1]).iterdir()) if p.suffix in READERS]
    for path in paths:
        results = list(READERS[path.suffix](path))
        everything += results
        for name, outcome, text in results:
            if outcome == "failed":
                print(f"--- FAILED {path.stem}: {name}\n{text.rstrip()}\n")
            elif outcome == "skipped":
                print(f"--- skipped {path.stem}: {name}: {text.splitlines()[0] if text else ''}")
        print(f"{path.stem}: {line_of(count(results))}")
    total = count(everything)
    print(line_of(total))
    return 1 if total["failed"] or not everything else 0


if __name__ == "__main__":
    sys.exit(main())
