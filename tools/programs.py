"""Reads <build>/programs.tsv, the list that cmake/programs.cmake writes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    kind: str  # test, check, fuzzer, bench
    name: str
    labels: frozenset
    timeout_s: int
    acceptance: tuple
    command: tuple


def read_programs(build):
    programs = []
    for line in (Path(build) / "programs.tsv").read_text().splitlines():
        kind, name, labels, timeout, acceptance, *command = line.split("\t")
        programs.append(
            Program(kind, name, frozenset(labels.split(",")), int(timeout), tuple(acceptance.split()), tuple(command))
        )
    return programs


def add_to_tally(path, results):
    """One line of what one stage adds to the run: how many of `results` (passed, failed, skipped) there are of each."""
    if path:
        with path.open("a") as tally:
            tally.write("\t".join(str(results.count(kind)) for kind in ("passed", "failed", "skipped")) + "\n")
