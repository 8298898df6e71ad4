#!/usr/bin/env python3
"""Runs every fuzzer of the fuzz build for a while, two at a time.

    run_fuzzers.py ROOT --seconds N

Seeds come from fuzz/corpus/NAME/, if there are any; what is found new stays in build/fuzz/found/NAME/, the input that
broke something in build/fuzz/broken/. Exit codes: 0 nothing broke, 1 something did.
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import process
from programs import read_programs


def run_fuzzer(root, build, fuzzer, seconds):
    found, broken = build / "found" / fuzzer.name, build / "broken"
    found.mkdir(parents=True, exist_ok=True)
    broken.mkdir(exist_ok=True)
    seeds = root / "fuzz" / "corpus" / fuzzer.name
    output = build / f"{fuzzer.name}.txt"
    command = [*fuzzer.command, f"-max_total_time={seconds}", "-timeout=10", f"-artifact_prefix={broken}/{fuzzer.name}-",
               str(found), *([str(seeds)] if seeds.is_dir() else [])]
    return fuzzer.name, process.run(command, output, seconds + 60), output


def main():
    parser = argparse.ArgumentParser(description="Runs every fuzzer of the fuzz build for a while.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--seconds", type=int, default=10)
    args = parser.parse_args()
    build = args.root / "build" / "fuzz"
    fuzzers = [p for p in read_programs(build) if p.kind == "fuzzer"]
    failed = False
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for name, outcome, output in pool.map(lambda f: run_fuzzer(args.root, build, f, args.seconds), fuzzers):
            text = output.read_text(errors="replace")
            if outcome.exit_code != 0:
                failed = True
                print(f"--- {name} {outcome.describe()}\n{text}")
            else:
                print(f"{name}: {args.seconds} s, {text.rstrip().splitlines()[-1]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
