#!/usr/bin/env python3
"""Checks what every text file of the tree has in common.

    check_text.py ROOT

Names say what is inside: nothing is called utils, common or misc. No markers of unfinished work. A file ends with one
newline, no line ends with a space. Recorded data (any folder called data or corpus) is left as it is.

Exit codes: 0 all in order, 1 otherwise.
"""

import re
import sys
from pathlib import Path

import tree

EMPTY_NAMES = {"util", "utils", "common", "misc"}
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" "DO", "FIX" "ME", "X" "XX"]) + r")\b")
RECORDED = {"data", "corpus"}


def complaints_about(name, text):
    found = []
    for part in Path(name).parts:
        if part.split(".")[0].lower() in EMPTY_NAMES:
            found.append(f"{name}: {part} says nothing about what is inside")
    if text is None or RECORDED & set(Path(name).parts[:-1]):
        return found
    for number, line in enumerate(text.split("\n"), 1):
        if UNFINISHED.search(line):
            found.append(f"{name}:{number}: marks unfinished work: {line.strip()}")
        if line != line.rstrip(" \t\r"):
            found.append(f"{name}:{number}: ends with white space")
    if text and not text.endswith("\n"):
        found.append(f"{name}: does not end with a newline")
    if text.endswith("\n\n"):
        found.append(f"{name}: ends with an empty line")
    return found


def text_of(path):
    """None for a binary file."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def check(root):
    found = []
    for name in tree.source_files(root):
        path = root / name
        if not path.is_symlink():
            found += complaints_about(name, text_of(path))
    return found


if __name__ == "__main__":
    all_found = check(Path(sys.argv[1]))
    print("\n".join(all_found), end="\n" if all_found else "")
    sys.exit(1 if all_found else 0)
