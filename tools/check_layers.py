#!/usr/bin/env python3
"""Checks who includes whom.

    check_layers.py ROOT

A folder of holdfast/ includes only itself and folders above it in LAYERS; that list is the order of the house. The
model, the guest side and the headers of user space include only what OUTSIDE grants them. The library includes nothing
that needs an operating system or the heap (HOSTED). A test, fuzzer or benchmark of the library, and a header that only such
files include, may use the standard library and the model besides; a benchmark, the whole library.

Exit codes: 0 all in order, 1 otherwise.
"""

import re
import sys
from pathlib import Path

LAYERS = "base abi hw memory pt kho luo iommu pci vtd memfd iommufd vfio kernel vector".split()

# Folder -> prefixes it may include besides its own files and the standard library.
OUTSIDE = {
    "sim": ("holdfast/base/", "holdfast/hw/"),
    "vmm": ("uapi/", "holdfast/base/", "holdfast/hw/"),
    "uapi": (),
}

# What user space includes is found from here too: "holdfast/iommufd.h" is uapi/holdfast/iommufd.h.
UAPI = "uapi"

# The layers that speak to user space, from here down, may include uapi/.
FIRST_WITH_UAPI = "luo"

HOSTED = re.compile(
    r"(string|vector|deque|list|forward_list|(unordered_)?(map|set)|queue|stack|regex|functional|any|locale|random|chrono"
    r"|[io]?(o|f|s|io|string)stream|ios|iosfwd|iomanip|filesystem|system_error|stdexcept|exception|typeinfo"
    r"|thread|mutex|shared_mutex|condition_variable|future|cstdio|cerrno|ctime|csignal"
    r"|(stdio|stdlib|errno|time|signal|pthread|unistd|fcntl|malloc)\.h|sys/.*|linux/.*|asm/.*)"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.M)
FOR_TESTS = re.compile(r"_(test|fuzz|bench)\.cpp$")
BENCHMARK = re.compile(r"_bench\.cpp$")


def allowed_in_library(name, target, is_test):
    folder = name.split("/")[1]
    parts = target.split("/")
    if parts[0] == "holdfast":
        is_above = parts[1] in LAYERS and LAYERS.index(parts[1]) <= LAYERS.index(folder)
        return is_above or BENCHMARK.search(name) is not None
    if parts[0] == UAPI:
        return LAYERS.index(folder) >= LAYERS.index(FIRST_WITH_UAPI)
    return parts[0] in ("sim", "tests") and is_test


def objection(name, target, is_test, ours):
    """Why the file name may not include target, or None. ours: the top-level folders of the tree."""
    parts = name.split("/")
    top = parts[0]
    is_ours = target.split("/")[0] in ours and "/" in target
    if top == "holdfast":
        folder = parts[1]
        if folder not in LAYERS:
            return f"holdfast/{folder} has no place in the order of the layers (tools/check_layers.py)"
        if is_ours and not allowed_in_library(name, target, is_test):
            return f"{folder} may not include {target}"
        if not is_ours and not is_test and HOSTED.fullmatch(target):
            return f"the library may not include <{target}>"
        return None
    if is_ours:
        grants = (f"{top}/", *OUTSIDE[top]) + (("tests/",) if is_test else ())
        if not target.startswith(grants):
            return f"{top}/ may include only {', '.join(grants)}; not {target}"
    return None


def read_includes(root):
    """File -> what it includes, with the path from the root where that is a file of ours."""
    includes = {}
    for top in ("holdfast", *OUTSIDE):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in (".hpp", ".cpp", ".h", ".c"):
                targets = INCLUDE.findall(path.read_text())
                includes[path.relative_to(root).as_posix()] = [
                    f"{UAPI}/{target}" if not (root / target).exists() and (root / UAPI / target).exists() else target
                    for target in targets]
    return includes


def files_for_tests(includes):
    """Tests, fuzzers and benchmarks, and the headers that nothing else includes."""
    includers = {}
    for name, targets in includes.items():
        for target in targets:
            includers.setdefault(target, set()).add(name)
    found = {name for name in includes if FOR_TESTS.search(name)}
    while True:
        more = {name for name in includes if name.endswith(".hpp") and name in includers and includers[name] <= found}
        if more <= found:
            return found
        found |= more


def check(root):
    ours = {path.name for path in root.iterdir() if path.is_dir()}
    includes = read_includes(root)
    for_tests = files_for_tests(includes)
    complaints = []
    for name, targets in includes.items():
        for target in targets:
            reason = objection(name, target, name in for_tests, ours)
            if reason:
                complaints.append(f"{name}: {reason}")
    return complaints


if __name__ == "__main__":
    found = check(Path(sys.argv[1]))
    print("\n".join(found), end="\n" if found else "")
    sys.exit(1 if found else 0)
