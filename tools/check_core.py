#!/usr/bin/env python3
"""Checks that the library is freestanding.

    check_core.py --symbols LIST --fdt libfdt.a [--provider OBJECT --start OBJECT --compiler CXX] ARCHIVE...

The archives are linked into one object together with what they need of libfdt.a. Its undefined symbols must be exactly
those in LIST: one more is a dependency nobody agreed to, one less is a line that is no longer true.

With --provider and --start, the object given as provider must define exactly the symbols of LIST as well, and a program
made of the whole library, the two objects and nothing else must link and exit with 0.

No object of the archives may hold mutable static storage or run code before main: a section of .data, .bss, .tdata,
.tbss or .init_array that is not empty. Relocated constants (.data.rel.ro) are fine.

Exit codes: 0 all in order, 1 otherwise.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MUTABLE = re.compile(r"\.(data|bss|tdata|tbss|init_array|ctors|ldata|lbss)(\.|$)")
CONSTANT = re.compile(r"\.l?data\.rel\.ro(\.|$)")
SECTION = re.compile(r"^\s*\[\s*\d+\]\s+(\S+)\s+(\S+)\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)\s")
MEMBER = re.compile(r"^File: (?:.*\((.*)\)|(.*))$")

# The linker defines it itself.
LINKER_SYMBOLS = {"_GLOBAL_OFFSET_TABLE_"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read_symbols(path):
    lines = Path(path).read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def undefined_symbols(archives, fdt):
    with tempfile.TemporaryDirectory() as folder:
        linked = f"{folder}/core.o"
        run("ld", "-r", "-o", linked, "--whole-archive", *archives, "--no-whole-archive", fdt)
        names = {line.split()[0] for line in run("nm", "-u", "--format=posix", linked).splitlines()}
        return names - LINKER_SYMBOLS


def defined_functions(path):
    """Global symbols that an object defines, its entry point left out."""
    lines = run("nm", "--defined-only", "--extern-only", "--format=posix", path).splitlines()
    return {line.split()[0] for line in lines} - {"_start"}


def readable(symbol):
    return run("c++filt", symbol).strip()


def users_of(symbol, archives, fdt):
    """The objects that refer to a symbol."""
    users = []
    for archive in [*archives, fdt]:
        for line in run("nm", "-A", "-u", "--format=posix", archive).splitlines():
            place, name = line.split()[:2]
            if name == symbol:
                users.append(Path(place.rstrip(":")).name)
    return users


def mutable_sections(archive):
    """(object, section) of everything that is neither code nor constant."""
    found, member = [], archive
    for line in run("readelf", "-SW", archive).splitlines():
        if match := MEMBER.match(line):
            member = match.group(1) or match.group(2)
        elif match := SECTION.match(line):
            name, kind, size = match.group(1), match.group(2), int(match.group(3), 16)
            if size and MUTABLE.match(name) and not CONSTANT.match(name) and kind != "RELA":
                found.append((member, name))
    return found


def freestanding_program_fails(args):
    """Why the program made of the library and the two objects does not work, or None."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/program"
        link = subprocess.run(
            [args.compiler, "-nostdlib", "-static", "-no-pie", "-o", program, args.start, args.provider,
             "-Wl,--whole-archive", *args.archives, "-Wl,--no-whole-archive", args.fdt], capture_output=True, text=True)
        if link.returncode != 0:
            return f"the library does not link without a C library:\n{link.stderr.strip()}"
        exit_code = subprocess.run([program], timeout=60).returncode
        return f"the freestanding program ends with {exit_code}" if exit_code != 0 else None


def main():
    parser = argparse.ArgumentParser(description="Checks that the library is freestanding.")
    parser.add_argument("--symbols", required=True)
    parser.add_argument("--fdt", required=True)
    parser.add_argument("--provider")
    parser.add_argument("--start")
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("archives", nargs="+")
    args = parser.parse_args()

    listed = read_symbols(args.symbols)
    needed = undefined_symbols(args.archives, args.fdt)
    complaints = [f"the library needs {symbol} ({readable(symbol)}), which {args.symbols} does not list; used by "
                  + ", ".join(users_of(symbol, args.archives, args.fdt)) for symbol in sorted(needed - listed)]
    complaints += [f"{args.symbols} lists {symbol}, which the library does not need"
                   for symbol in sorted(listed - needed)]
    if args.provider:
        supplied = defined_functions(args.provider)
        complaints += [f"{args.provider} does not supply {symbol}" for symbol in sorted(listed - supplied)]
        complaints += [f"{args.provider} supplies {symbol}, which is not listed" for symbol in sorted(supplied - listed)]
    for archive in args.archives:
        complaints += [f"{Path(archive).name}: {member} holds mutable static storage or start-up code in {section}"
                       for member, section in mutable_sections(archive)]
    if args.start and not complaints:
        complaints += [reason for reason in [freestanding_program_fails(args)] if reason]
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
