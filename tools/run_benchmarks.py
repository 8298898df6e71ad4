#!/usr/bin/env python3
"""Runs the benchmarks of a build directory and prints what each row costs beside its yardstick.

    run_benchmarks.py BUILD [name...] [--filter REGEX] [--json FILE]

A name is that of a program, with or without "_bench". Each program is run by itself: nine repetitions, those of all rows
in random order. What it wrote stays in BUILD/bench/NAME.json (Google Benchmark's JSON); --json writes the table.

What a program reports for each row, a benchmark in Google Benchmark's words, are user counters of each repetition:

    ns             what one item took, the median over the rounds of the repetition
    yardstick_ns   what one item of the yardstick took, in rounds that alternated with those; may be absent
    target         the ratio ns / yardstick_ns that is to be met; may be absent
    and its label  names the yardstick

tests/bench/row.hpp writes them. The table's figures are medians over the repetitions; the ratio is the median of the
repetitions' ratios, not the ratio of medians. A target that is missed is shown and is no error: machines differ.

Exit codes: 0 all rows ran, 1 a program or a row failed, 2 no program matches.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import process
from programs import read_programs

REPETITIONS = 9
TIMEOUT_S = 3600
ADDED = re.compile(r"(/iterations:\d+|/manual_time|/real_time|/process_time)+$")  # to the name, by Google Benchmark


@dataclass
class Row:
    program: str
    row: str
    ns: float | None
    yardstick: str = ""
    yardstick_ns: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool | None = None
    error: str = ""


def read_row(program, name, repetitions):
    """repetitions: Google Benchmark's records of one row."""
    errors = [r.get("error_message", "failed") for r in repetitions if r.get("error_occurred")]
    if not errors and any("ns" not in r for r in repetitions):
        errors = ["reports no counter ns"]
    if errors:
        return Row(program, name, None, error=errors[0])
    row = Row(program, name, median(r["ns"] for r in repetitions), repetitions[0].get("label", ""))
    if all("yardstick_ns" in r for r in repetitions):
        row.yardstick_ns = median(r["yardstick_ns"] for r in repetitions)
        row.ratio = median(r["ns"] / r["yardstick_ns"] for r in repetitions)
        row.target = repetitions[0].get("target")
    if row.target is not None:
        row.met = row.ratio <= row.target
    return row


def read_rows(program, report):
    """The rows of one program, in the order in which it registers them; aggregates are left out."""
    by_name = {}
    for record in report["benchmarks"]:
        if record.get("run_type", "iteration") == "iteration":
            by_name.setdefault((record.get("family_index", 0), record.get("per_family_instance_index", 0),
                                record.get("run_name", record["name"])), []).append(record)
    return [read_row(program, ADDED.sub("", key[2]), by_name[key]) for key in sorted(by_name)]


def figure(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def print_table(rows):
    verdicts = {True: "met", False: "not met", None: ""}
    lines = [("row", "ns", "yardstick ns", "ratio", "target", "", "yardstick")]
    lines += [(r.row, "failed" if r.error else figure(r.ns, 2), figure(r.yardstick_ns, 2), figure(r.ratio, 2),
               figure(r.target, 2), verdicts[r.met], r.error or r.yardstick) for r in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, 5)),
                 line[5].ljust(widths[5]), line[6]]
        print("  ".join(cells).rstrip())


def run_program(build, program, pattern):
    """Its report, or what went wrong."""
    folder = build / "bench"
    folder.mkdir(exist_ok=True)
    report, output = folder / f"{program.name}.json", folder / f"{program.name}.txt"
    report.unlink(missing_ok=True)
    command = [*program.command, f"--benchmark_repetitions={REPETITIONS}", "--benchmark_enable_random_interleaving=true",
               f"--benchmark_out={report}", "--benchmark_out_format=json"]
    if pattern:
        command.append(f"--benchmark_filter={pattern}")
    outcome = process.run(command, output, TIMEOUT_S)
    if outcome.exit_code != 0 or outcome.left_running:
        return None, f"{program.name} {outcome.describe()}\n{output.read_text(errors='replace').rstrip()}"
    text = report.read_text() if report.exists() else ""
    return (json.loads(text), "") if text.strip() else ({"benchmarks": []}, "")


def main():
    parser = argparse.ArgumentParser(description="Runs the benchmarks; prints what each row costs beside its yardstick.")
    parser.add_argument("build", type=Path)
    parser.add_argument("--filter", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("names", nargs="*")
    args = parser.parse_intermixed_args()
    programs = [p for p in read_programs(args.build) if p.kind == "bench"]
    wanted = {name.removesuffix("_bench") for name in args.names}
    programs = [p for p in programs if not wanted or p.name.removesuffix("_bench") in wanted]
    if not programs:
        print(f"no benchmark matches {' '.join(args.names) or 'anything'}", file=sys.stderr)
        return 2

    rows, failed, context = [], False, {}
    for program in programs:
        print(f"{program.name}: {REPETITIONS} repetitions", file=sys.stderr)
        report, complaint = run_program(args.build, program, args.filter)
        if complaint:
            failed = True
            print(complaint, file=sys.stderr)
            continue
        context = report.get("context", context)
        rows += read_rows(program.name, report)
    print_table(rows)
    if args.json:
        args.json.write_text(json.dumps({"schema": "holdfast.bench/1", "context": context,
                                         "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    return 1 if failed or any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
