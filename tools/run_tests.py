#!/usr/bin/env python3
"""Runs the test programs and checks of one build directory and keeps what each test said.

    run_tests.py BUILD [--floor FILE [--record]] [--tally FILE] [filter...]

A filter is the name of a program or check, or a GoogleTest pattern ("Bits.*"). Every GoogleTest program is run by
several processes at once, each a share of its cases; programs with the label "serial" run alone afterwards.
BUILD/test/results.json holds one record per test, with the acceptance ids it recorded
(RecordProperty("acceptance", "K1 K2"), or a name that ends in _K1_K2). A filtered run leaves that file alone.

A program also fails when it crashes, runs out of time, leaves a process behind, exits with an error although its tests
passed, or has no tests. With --floor, so does the run when fewer tests ran than FILE says; --record raises that number.
--tally adds a line to FILE: how many passed, failed and were skipped.

Exit codes: 0 all passed, 1 something failed, 2 usage, 3 nothing is built in BUILD.
"""

import argparse
import json
import os
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import process
from programs import add_to_tally, read_programs

SKIPPED_CHECK = 77
SHOWN_LINES = 120  # of the output of one failed test


@dataclass
class Test:
    program: str
    name: str
    result: str  # passed, failed, skipped
    seconds: float
    acceptance: list


@dataclass
class Report:
    """What one process of one program said."""

    program: str
    seconds: float = 0.0
    tests: list = field(default_factory=list)
    complaints: list = field(default_factory=list)  # (headline, output)


def ids_in_name(name):
    """Ids at the end of the test's own name: "Suite.KeepsOrder_K2_K3/0" gives K2 and K3."""
    own_name = name.split(".", 1)[-1].split("/", 1)[0]
    match = re.search(r"((?:_[A-Z]{1,2}[0-9]+)+)$", own_name)
    return match.group(1)[1:].split("_") if match else []


def seconds_of(text):
    return float(str(text).rstrip("s") or 0)


def read_gtest_report(program, path):
    """Tests in GoogleTest's JSON report; also whether something was recorded where nobody looks for it."""
    tests, misplaced = [], []
    report = json.loads(Path(path).read_text())
    misplaced += ["the whole program"] if "acceptance" in report else []
    for suite in report.get("testsuites", []):
        misplaced += [f"suite {suite['name']}"] if "acceptance" in suite else []
        for case in suite.get("testsuite", []):
            name = f"{suite['name']}.{case['name']}"
            ran = case["status"] == "RUN" and case["result"] != "SKIPPED"
            result = ("failed" if case.get("failures") else "passed") if ran else "skipped"
            ids = re.split(r"[\s,]+", case.get("acceptance", "").strip())
            tests.append(Test(program, name, result, seconds_of(case.get("time", 0)),
                              sorted({i for i in ids if i} | set(ids_in_name(name)))))
    return tests, misplaced


def output_of(name, output):
    """The part of a GoogleTest program's output that belongs to one test; all that follows if it never ended."""
    begin = output.find(f"[ RUN      ] {name}\n")
    if begin < 0:
        return output
    end = output.find(f"[  FAILED  ] {name}", begin)
    return output[begin : end if end >= 0 else len(output)]


def shorten(text):
    lines = text.rstrip().splitlines()
    if len(lines) <= SHOWN_LINES:
        return "\n".join(lines)
    half = SHOWN_LINES // 2
    return "\n".join(lines[:half] + [f"... {len(lines) - SHOWN_LINES} lines left out ..."] + lines[-half:])


def last_test_begun(output):
    begun = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
    return begun[-1] if begun else None


class Runner:
    def __init__(self, build, pattern, jobs):
        self.folder = Path(build) / "test"
        self.pattern = pattern
        self.jobs = jobs

    def shares(self, program):
        return 1 if program.kind == "check" or "serial" in program.labels else self.jobs

    def run_share(self, program, index):
        if program.kind == "check":
            return self.run_check(program)
        count = self.shares(program)
        json_path = self.folder / f"{program.name}.{index}.json"
        output_path = self.folder / f"{program.name}.{index}.txt"
        json_path.unlink(missing_ok=True)
        environment = {"GTEST_TOTAL_SHARDS": str(count), "GTEST_SHARD_INDEX": str(index)}
        command = [*program.command, f"--gtest_output=json:{json_path}", "--gtest_color=no"]
        if self.pattern:
            command.append(f"--gtest_filter={self.pattern}")
        outcome = process.run(command, output_path, program.timeout_s, environment)
        return self.gtest_report(program, outcome, json_path, output_path)

    def gtest_report(self, program, outcome, json_path, output_path):
        output = output_path.read_text(errors="replace")
        report = Report(program.name, outcome.seconds)
        if outcome.exit_code in (0, 1) and json_path.exists():
            report.tests, misplaced = read_gtest_report(program.name, json_path)
            report.complaints += [(f"{program.name}: acceptance ids recorded for {place}, not in a test", "")
                                  for place in misplaced]
        failed = [test for test in report.tests if test.result == "failed"]
        report.complaints += [(f"{program.name}: {test.name}", output_of(test.name, output)) for test in failed]
        if outcome.left_running or (outcome.exit_code != 0 and not failed):
            self.blame(report, outcome, output)
        return report

    @staticmethod
    def blame(report, outcome, output):
        """The program as a whole failed; the test it was in, if any, is a failed test."""
        name = last_test_begun(output)
        died = outcome.exit_code is None or not report.tests
        where = f" in {name}" if died and name else ""
        report.complaints.append((f"{report.program} {outcome.describe()}{where}",
                                  output_of(name, output) if where else output))
        report.tests.append(Test(report.program, name if where else report.program, "failed", outcome.seconds, []))

    def run_check(self, program):
        output_path = self.folder / f"{program.name}.txt"
        outcome = process.run(program.command, output_path, program.timeout_s)
        result = {0: "passed", SKIPPED_CHECK: "skipped"}.get(outcome.exit_code, "failed")
        if outcome.left_running:
            result = "failed"
        test = Test(program.name, program.name, result, outcome.seconds, list(program.acceptance))
        report = Report(program.name, outcome.seconds, [test])
        if result == "failed":
            report.complaints.append((f"{program.name} {outcome.describe()}",
                                      output_path.read_text(errors="replace")))
        return report

    def run_all(self, programs):
        parallel = [p for p in programs if "serial" not in p.labels]
        serial = [p for p in programs if "serial" in p.labels]
        reports = []
        with ThreadPoolExecutor(self.jobs) as pool:
            shares = [(p, i) for p in parallel for i in range(self.shares(p))]
            for report in pool.map(lambda share: self.run_share(*share), shares):
                reports.append(report)
                show_progress(len(reports), len(shares) + len(serial))
        for program in serial:
            reports.append(self.run_share(program, 0))
            show_progress(len(reports), len(shares) + len(serial))
        return reports


def show_progress(done, of):
    if sys.stderr.isatty():
        print(f"\r{done}/{of} ", end="\r" if done == of else "", file=sys.stderr, flush=True)


def select(programs, filters):
    """The programs to run, and the GoogleTest pattern ("" for all cases)."""
    if not filters:
        return programs, ""
    named = [p for p in programs if any(fnmatchcase(p.name, f) for f in filters)]
    known = {p.name for p in named}
    patterns = [f for f in filters if not any(fnmatchcase(name, f) for name in known)]
    if not patterns:
        return named, ""
    if named:
        sys.exit("name either programs or GoogleTest patterns, not both")
    widened = [p if any(c in p for c in ".*:") else f"*{p}*" for p in patterns]
    return [p for p in programs if p.kind == "test"], ":".join(widened)


def complain_about_empty_programs(programs, reports):
    for program in programs:
        own = [r for r in reports if r.program == program.name]
        if not any(r.tests or r.complaints for r in own):
            own[0].complaints.append((f"{program.name} has no tests", ""))


def print_table(programs, reports):
    width = max(len(p.name) for p in programs)
    print(f"{'program':<{width}}  passed  failed  skipped  seconds")
    for program in programs:
        own = [r for r in reports if r.program == program.name]
        results = [t.result for r in own for t in r.tests]
        if not results and not any(r.complaints for r in own):
            continue
        counts = [results.count(kind) for kind in ("passed", "failed", "skipped")]
        print(f"{program.name:<{width}}  {counts[0]:6}  {counts[1]:6}  {counts[2]:7}  {sum(r.seconds for r in own):7.1f}")


def check_floor(ran, path, record):
    floor = int(path.read_text()) if path.exists() else 0
    if ran < floor:
        print(f"{floor - ran} tests fewer ran than {path} asks for ({ran} < {floor}); "
              "if they were removed on purpose, lower that number")
        return False
    if record and ran > floor:
        path.write_text(f"{ran}\n")
        print(f"{path}: {floor} -> {ran}")
    return True


def write_results(path, tests):
    text = json.dumps({"schema": "holdfast.tests/1", "when": time.time(), "tests": [vars(t) for t in tests]}, indent=1)
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


def main():
    parser = argparse.ArgumentParser(description="Runs the test programs and checks of one build directory.")
    parser.add_argument("build", type=Path)
    parser.add_argument("--floor", type=Path)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--tally", type=Path)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("filters", nargs="*")
    args = parser.parse_intermixed_args()
    try:
        programs = [p for p in read_programs(args.build) if p.kind in ("test", "check")]
    except FileNotFoundError:
        print(f"{args.build} holds no build", file=sys.stderr)
        return 3
    programs, pattern = select(programs, args.filters)
    runner = Runner(args.build, pattern, max(args.jobs, 1))
    results = runner.folder / "results.json"
    if not args.filters:
        shutil.rmtree(runner.folder, ignore_errors=True)
    runner.folder.mkdir(exist_ok=True)

    start = time.monotonic()
    reports = runner.run_all(programs)
    if not pattern:
        complain_about_empty_programs(programs, reports)
    tests = [test for report in reports for test in report.tests]
    if not tests and not any(r.complaints for r in reports):
        print(f"no test matches {' '.join(args.filters) or 'anything'}", file=sys.stderr)
        return 2
    if not args.filters:
        write_results(results, tests)

    add_to_tally(args.tally, [test.result for test in tests])
    print_table(programs, reports)
    for headline, output in (c for r in reports for c in r.complaints):
        print(f"\n--- {headline}\n{shorten(output)}")
    failed = any(r.complaints for r in reports)
    for test in (t for t in tests if t.result == "skipped"):
        print(f"skipped: {test.program} {test.name}")
    ran = sum(t.result != "skipped" for t in tests)
    print(f"{ran} tests ran, {sum(t.result == 'failed' for t in tests)} failed, "
          f"{len(tests) - ran} skipped, in {time.monotonic() - start:.0f} s")
    if args.floor and not args.filters and not check_floor(ran, args.floor, args.record and not failed):
        failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
