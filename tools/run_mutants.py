#!/usr/bin/env python3
"""Breaks the code one line at a time and sees whether the named test notices.

    run_mutants.py ROOT [filter...]

The entries stand in tools/mutants/*.toml, one [[mutant]] each:

    file = "holdfast/base/bits.hpp"
    old = 'if (lows[i] == 0) return i + 1 == count;'   # occurs exactly once in the file
    new = 'if (lows[i] == 0) return true;'
    program = "base_test"                              # the test program to build
    test = "Bits.RefusesADeclarationThatDoesNotCoverEveryBitOnce"
    by = "test"                                        # the default; "build": it must not even compile

Each is applied to a copy of the tree in build/mutants/tree, which keeps its build directory, so only what the mutant
touches is built again. Before that the named test must pass unbroken. A filter selects entries whose file, program or
test contains it.

Each entry ends as killed (the test was begun, and failed, died or ran out of time), SURVIVED, NOT BUILT (proves nothing;
change it, or say by = "build"), NOT RUN (the program ended before it came to the test, which therefore proves nothing
either), or STALE (old is not there exactly once, or the test is missing or fails without the mutant).
Exit codes: 0 all killed, 1 otherwise, 2 usage.
"""

import re
import shutil
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import process
import tree
from programs import read_programs

TEST_TIMEOUT_S = 60
BUILD_TIMEOUT_S = 900
DATA_LIMIT_BYTES = 8 << 30  # a mutant may allocate without end
BEGUN = re.compile(r"^\[ RUN      \] ", re.M)  # GoogleTest, before each test that the filter lets through


@dataclass(frozen=True)
class Mutant:
    file: str
    old: str
    new: str
    program: str
    test: str
    by: str = "test"


def read_mutants(root, filters):
    mutants = []
    for path in sorted((root / "tools" / "mutants").glob("*.toml")):
        mutants += [Mutant(**entry) for entry in tomllib.loads(path.read_text()).get("mutant", [])]
    return [m for m in mutants if not filters or any(f in text for f in filters for text in (m.file, m.program, m.test))]


def copy_tree(root, copy):
    """Makes copy equal to the source tree; files that are equal already keep their time stamps."""
    wanted = tree.source_files(root)
    for name in wanted:
        source, target = root / name, copy / name
        content = source.read_bytes()
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            shutil.copymode(source, target)
    for name in set(tree.source_files(copy)) - set(wanted):
        (copy / name).unlink()


class Workshop:
    """The copy of the tree, its build directory, and what is broken in it at the moment."""

    def __init__(self, root):
        self.root = root
        self.copy = root / "build" / "mutants" / "tree"
        self.build_folder = self.copy / "build" / "release"
        self.broken = None
        self.whole = {}  # file -> its text as it was copied; the source tree may be edited meanwhile
        self.log = root / "build" / "mutants" / "output.txt"

    def set_up(self):
        self.copy.mkdir(parents=True, exist_ok=True)
        copy_tree(self.root, self.copy)
        command = ["cmake", "-S", str(self.copy), "--preset", "release"]
        return process.run(command, self.log, BUILD_TIMEOUT_S, cwd=self.copy).exit_code == 0

    def break_with(self, mutant):
        """False when the text to replace does not occur exactly once."""
        self.mend(keep=mutant.file)
        if not (self.copy / mutant.file).exists():
            return False
        text = self.whole.setdefault(mutant.file, (self.copy / mutant.file).read_text())
        if text.count(mutant.old) != 1 or mutant.old == mutant.new:
            return False
        (self.copy / mutant.file).write_text(text.replace(mutant.old, mutant.new))
        self.broken = mutant.file
        return True

    def mend(self, keep=None):
        """The file that is broken becomes whole again; not when it is to be broken next, which saves a build."""
        if self.broken and self.broken != keep:
            (self.copy / self.broken).write_text(self.whole[self.broken])
            self.broken = None

    def build(self, *programs):
        command = ["ninja", "-C", str(self.build_folder), *programs]
        return process.run(command, self.log, BUILD_TIMEOUT_S).exit_code == 0

    def run_test(self, program, test):
        """Whether a test was begun, and whether all went well."""
        command = [self.path_of(program), f"--gtest_filter={test}", "--gtest_color=no"]
        outcome = process.run(command, self.log, TEST_TIMEOUT_S, data_limit_bytes=DATA_LIMIT_BYTES)
        begun = BEGUN.search(self.log.read_text(errors="replace")) is not None
        return begun, outcome.exit_code == 0 and not outcome.left_running

    def path_of(self, name):
        return next(p.command[0] for p in read_programs(self.build_folder) if p.kind == "test" and p.name == name)


def find_sound_tests(workshop, mutants):
    """Those (program, test) that pass unbroken; several mutants may name the same one."""
    return {pair for pair in sorted({(m.program, m.test) for m in mutants}) if all(workshop.run_test(*pair))}


def judge(workshop, mutant):
    if not workshop.break_with(mutant):
        return "STALE"
    if not workshop.build(mutant.program):
        return "killed" if mutant.by == "build" else "NOT BUILT"
    if mutant.by == "build":
        return "SURVIVED"
    begun, passed = workshop.run_test(mutant.program, mutant.test)
    if not begun:
        return "NOT RUN"
    return "SURVIVED" if passed else "killed"


def line_of(root, mutant):
    text = (root / mutant.file).read_text() if (root / mutant.file).exists() else ""
    return text[: text.find(mutant.old)].count("\n") + 1 if mutant.old in text else 0


def main():
    if len(sys.argv) < 2:
        print("run_mutants.py ROOT [filter...]", file=sys.stderr)
        return 2
    root = Path(sys.argv[1]).resolve()
    mutants = sorted(read_mutants(root, sys.argv[2:]), key=lambda m: (m.program, m.file))
    if not mutants:
        print("no mutant matches", file=sys.stderr)
        return 2
    workshop = Workshop(root)
    programs = sorted({m.program for m in mutants})
    if not workshop.set_up() or not workshop.build(*programs):
        print(f"the unbroken tree does not build:\n{workshop.log.read_text()}", file=sys.stderr)
        return 1
    sound = find_sound_tests(workshop, mutants)

    counts = {}
    for mutant in mutants:
        start = time.monotonic()
        verdict = judge(workshop, mutant) if (mutant.program, mutant.test) in sound else "STALE"
        counts[verdict] = counts.get(verdict, 0) + 1
        print(f"{verdict:<9} {time.monotonic() - start:6.1f} s  {mutant.file}:{line_of(root, mutant)}  {mutant.test}",
              flush=True)
    workshop.mend()
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return 0 if set(counts) == {"killed"} else 1


if __name__ == "__main__":
    sys.exit(main())
