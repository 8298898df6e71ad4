#!/usr/bin/env python3
"""Which acceptance rows the last complete test run proved.

    acceptance.py RESULTS IDS

RESULTS is what tools/run_tests.py wrote. A row is proved when a test that carries its id passed and none that carries
it failed. An id that no row has is an error: a row must not look proved under a misspelt name.

Exit codes: 0 printed, 1 a test carries an unknown id, 3 there are no results.
"""

import json
import os
import sys
import time
from pathlib import Path

import tree


def read_ids(path):
    """[(section letter, title, [id...])]; one section per line: letter, title, colon, ids."""
    sections = []
    for line in Path(path).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        head, ids = line.split(":")
        letter, title = head.split(" ", 1)
        sections.append((letter, title, ids.split()))
    return sections


def judge(tests, known):
    """The proved ids, and the complaints about unknown ones."""
    passed, failed, complaints = set(), set(), []
    for test in tests:
        for row in test["acceptance"]:
            if row not in known:
                complaints.append(f"{test['program']}: {test['name']} carries {row}, which is no acceptance row")
            elif test["result"] == "passed":
                passed.add(row)
            elif test["result"] == "failed":
                failed.add(row)
    return passed - failed, complaints


def newer_source(root, when):
    """A source file changed after the run, if there is one."""
    for name in tree.source_files(root):
        path = os.path.join(root, name)
        if os.path.exists(path) and os.stat(path).st_mtime > when:
            return name
    return None


def main():
    if len(sys.argv) != 3:
        print(__doc__.split("\n\n")[1].strip(), file=sys.stderr)
        return 2
    try:
        results = json.loads(Path(sys.argv[1]).read_text())
    except FileNotFoundError:
        print("there are no test results: ./dev test comes first", file=sys.stderr)
        return 3
    sections = read_ids(sys.argv[2])
    known = {row for _, _, rows in sections for row in rows}
    proved, complaints = judge(results["tests"], known)

    for letter, title, rows in sections:
        missing = [row for row in rows if row not in proved]
        count = f"{letter} {len(rows) - len(missing)}/{len(rows)}"
        print(f"{count:<9} {title}")
        if missing:
            print(f"          missing: {' '.join(missing)}")
    changed = newer_source(Path(sys.argv[2]).resolve().parent.parent, results["when"])
    if changed:
        age = (time.time() - results["when"]) / 60
        print(f"note: {changed} is newer than the last complete ./dev test ({age:.0f} minutes ago)", file=sys.stderr)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(f"proved {len(proved)} of {len(known)}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
