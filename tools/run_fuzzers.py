#!/usr/bin/env python3
"""Runs the fuzzers of the fuzz build, two at a time, or shows what their corpora reach.

    run_fuzzers.py ROOT --seconds N [filter...]     fuzz, in build/fuzz
    run_fuzzers.py ROOT --coverage [filter...]      line coverage by the corpora alone, in build/coverage

--tally FILE adds a line to FILE: how many passed, failed and were skipped. A filter selects the fuzzers whose name contains it. Seeds are the files in fuzz/corpus/NAME/, which is never written to:
what is found new stays in build/fuzz/found/NAME/ for the next run, an input that broke something in build/fuzz/broken/.

The coverage is that of the sources each fuzzer names (COVERS, cmake/programs.cmake; build/coverage/covers.tsv). Sources
below 90 % of lines are an error, and so is a fuzzer that names none or has no corpus.

Exit codes: 0 nothing broke, 1 something did or is covered too little, 2 no fuzzer matches.
"""

import argparse
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import process
from programs import add_to_tally, read_programs

LEAST_COVERED = 90  # per cent of lines
START_AND_END_S = 60  # what a run may take besides its time
CORPUS_TIMEOUT_S = 300
LLVM_PROFDATA, LLVM_COV = "llvm-profdata-19", "llvm-cov-19"


@dataclass
class Report:
    name: str
    failed: bool
    text: str


def corpus_of(root, fuzzer):
    return root / "fuzz" / "corpus" / fuzzer.name


def executions(output):
    """How many inputs libFuzzer says it ran."""
    done = re.findall(r"^Done (\d+) runs in \d+ second", output, re.M)
    return int(done[-1]) if done else 0


def fuzz(root, fuzzer, seconds):
    build = root / "build" / "fuzz"
    found, broken = build / "found" / fuzzer.name, build / "broken"
    found.mkdir(parents=True, exist_ok=True)
    broken.mkdir(exist_ok=True)
    seeds = corpus_of(root, fuzzer)
    output = build / f"{fuzzer.name}.txt"
    command = [*fuzzer.command, f"-max_total_time={seconds}", "-timeout=10", f"-artifact_prefix={broken}/{fuzzer.name}-",
               str(found), *([str(seeds)] if seeds.is_dir() else [])]
    outcome = process.run(command, output, seconds + START_AND_END_S)
    text = output.read_text(errors="replace")
    if outcome.exit_code == 0 and not outcome.left_running and executions(text):
        return Report(fuzzer.name, False, f"{executions(text):,} executions in {outcome.seconds:.0f} s")
    written = re.findall(r"Test unit written to (\S+)", text)
    where = f"\n{fuzzer.name}: the input that did it is {written[-1]}" if written else ""
    return Report(fuzzer.name, True, f"{outcome.describe()}\n{text.rstrip()}{where}")


def read_covers(build):
    """Fuzzer -> the sources it covers, relative to the root."""
    lines = (build / "covers.tsv").read_text().splitlines()
    return {name: sources for name, *sources in (line.split("\t") for line in lines)}


def line_coverage(export):
    """What `llvm-cov export -summary-only` says: [(file, lines covered, lines)]."""
    return [(entry["filename"], entry["summary"]["lines"]["covered"], entry["summary"]["lines"]["count"])
            for entry in json.loads(export)["data"][0]["files"]]


def judge_coverage(name, covered, sources, root):
    """covered: as line_coverage() answers."""
    lines, failed = [], False
    found = {os.path.relpath(file, root): (hit, count) for file, hit, count in covered}
    for source in sources:
        hit, count = found.get(source, (0, 0))
        percent = 100 * hit / count if count else 0
        failed |= percent < LEAST_COVERED
        verdict = f"  below {LEAST_COVERED} %" if percent < LEAST_COVERED else ""
        lines.append(f"{percent:5.1f} %  {hit:5} of {count:5} lines  {source}{verdict}")
    return Report(name, failed, "by its corpus alone\n" + "\n".join(lines))


def measure_coverage(root, fuzzer, sources):
    build = root / "build" / "coverage"
    corpus = corpus_of(root, fuzzer)
    if not sources:
        return Report(fuzzer.name, True, "names no sources that it covers (COVERS, cmake/programs.cmake)")
    if not corpus.is_dir():
        return Report(fuzzer.name, True, f"has no corpus in {corpus}")
    raw, merged, output = (build / f"{fuzzer.name}.{suffix}" for suffix in ("profraw", "profdata", "txt"))
    raw.unlink(missing_ok=True)
    steps = (
        ([*fuzzer.command, "-runs=0", str(corpus)], {"LLVM_PROFILE_FILE": str(raw)}),
        ([LLVM_PROFDATA, "merge", "-sparse", "-o", str(merged), str(raw)], {}),
        ([LLVM_COV, "export", "-summary-only", f"-instr-profile={merged}", fuzzer.command[0],
          *(str(root / source) for source in sources)], {}),
    )
    for command, environment in steps:
        outcome = process.run(command, output, CORPUS_TIMEOUT_S, environment)
        text = output.read_text(errors="replace")
        if outcome.exit_code != 0:
            return Report(fuzzer.name, True, f"{Path(command[0]).name} {outcome.describe()}\n{text.rstrip()}")
    return judge_coverage(fuzzer.name, line_coverage(text), sources, root)


def main():
    parser = argparse.ArgumentParser(description="Runs the fuzzers, or shows what their corpora reach.")
    parser.add_argument("root", type=lambda text: Path(text).resolve())
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seconds", type=int)
    what.add_argument("--coverage", action="store_true")
    parser.add_argument("--tally", type=Path)
    parser.add_argument("filters", nargs="*")
    args = parser.parse_intermixed_args()
    build = args.root / "build" / ("coverage" if args.coverage else "fuzz")
    fuzzers = [p for p in read_programs(build) if p.kind == "fuzzer"]
    fuzzers = [p for p in fuzzers if not args.filters or any(f in p.name for f in args.filters)]
    if not fuzzers:
        print(f"no fuzzer matches {' '.join(args.filters) or 'anything'}", file=sys.stderr)
        return 2
    covers = read_covers(build) if args.coverage else {}

    def work(fuzzer):
        if args.coverage:
            return measure_coverage(args.root, fuzzer, covers.get(fuzzer.name, []))
        return fuzz(args.root, fuzzer, args.seconds)

    results = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for report in pool.map(work, fuzzers):
            results.append("failed" if report.failed else "passed")
            print(f"{'--- ' if report.failed else ''}{report.name}: {report.text}", flush=True)
    add_to_tally(args.tally, results)
    return 1 if "failed" in results else 0


if __name__ == "__main__":
    sys.exit(main())
