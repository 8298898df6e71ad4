#!/usr/bin/env python3
"""Installs the library of a build directory and uses it as a stranger would.

    package_check.py --source ROOT --build BUILD --compiler CXX --c-compiler CC --libdir DIR --version V MODULE...

The prefix is moved after the installation, so nothing may depend on where it was. Then: no header of a test is
installed, none includes what is not installed or what only an operating system has, and all compile; the example of
examples/page-tables is built by CMake and by pkg-config and prints what it should; a program of the whole library links
both ways; find_package refuses versions that promise nothing to each other; the library alone can be configured where
nothing else that the project uses is installed.

Exit codes: 0 all in order, 1 otherwise.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Addresses of tables are the allocator's business.
EXPECTED = """\
0x40000000: [0]=TABLE003 [1]=TABLE003 [0]=0x123400083
  leads to 0x123400000 in a page of 2097152 bytes
0x40200000: [0]=TABLE003 [1]=TABLE003 [1]=TABLE003 [0]=0x200001003
  leads to 0x200001000 in a page of 4096 bytes
0x40400000: [0]=TABLE003 [1]=TABLE003 [2]=0
  ENOENT
unmapped 4194304 bytes; ranges to invalidate: 1, tables to free then: 1
0x40000000: [0]=TABLE003 [1]=TABLE003 [0]=0
"""
TABLE = re.compile(r"\b0x10[0-9a-f]{3}(?=003\b)")  # in the example's RAM: 4 MiB at 0x1000'0000


class Failure(Exception):
    pass


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240, **options)
    if result.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def expect(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}: expected\n{wanted}\nbut it is\n{got}")


class Package:
    def __init__(self, args):
        self.args = args
        self.folder = args.build / "package"
        self.prefix = self.folder / "moved" / "holdfast"
        self.include = self.prefix / "include"
        self.compilers = [f"-DCMAKE_CXX_COMPILER={args.compiler}", f"-DCMAKE_C_COMPILER={args.c_compiler}"]

    def install(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        staged = self.folder / "staged"
        run("cmake", "--install", self.args.build, "--prefix", staged)
        self.prefix.parent.mkdir()
        staged.rename(self.prefix)
        for path in [*self.prefix.rglob("*.cmake"), *self.prefix.rglob("*.pc")]:
            for place in (self.args.source, self.args.build):
                if str(place) in path.read_text():
                    raise Failure(f"{path.name} names {place}")

    def check_headers(self):
        """Which headers there are, and what they include."""
        sys.path.insert(0, str(self.args.source / "tools"))
        import check_layers  # what the library may include is written there

        files = (path for path in (self.include / "holdfast").rglob("*") if path.is_file())
        installed = sorted(path.relative_to(self.include).as_posix() for path in files)
        for name in installed:
            if not name.endswith(".hpp") or Path(name).name.startswith("test_"):
                raise Failure(f"{name} is installed")
            for target in check_layers.INCLUDE.findall((self.include / name).read_text()):
                ours = target.startswith(("holdfast/", "uapi/", "sim/", "tests/"))
                if ours and not (self.include / target).is_file():
                    raise Failure(f"{name} includes {target}, which is not installed")
                if check_layers.HOSTED.fullmatch(target) or target.startswith("gtest/"):
                    raise Failure(f"{name} is installed and includes <{target}>: is it a header of a test?")
        return installed

    def configure(self, source, build, *options):
        run("cmake", "-G", "Ninja", "-S", source, "-B", build, *self.compilers, *options)

    def check_library_only(self):
        """Those who take the library alone need none of what the tests and the programs stand on."""
        absent = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in ("CLI11", "fmt", "nlohmann_json", "Python3")]
        self.configure(self.args.source, self.folder / "library", "-DHOLDFAST_LIBRARY_ONLY=ON", *absent)

    def build(self, source, build, *options):
        self.configure(source, build, f"-DCMAKE_PREFIX_PATH={self.prefix}", *options)
        run("cmake", "--build", build)

    def pkg_config(self, *arguments):
        environment = {**os.environ, "PKG_CONFIG_PATH": str(self.prefix / self.args.libdir / "pkgconfig")}
        return run("pkg-config", *arguments, env=environment).split()

    def check_example(self):
        source = self.args.source / "examples" / "page-tables"
        copy = self.folder / "page-tables"
        shutil.copytree(source, copy)  # nothing beside it is there to be found
        self.build(copy, copy / "build")
        expect("the example, built by CMake", TABLE.sub("TABLE", run(copy / "build" / "page_tables")), EXPECTED)
        run(self.args.compiler, "-std=c++23", "-Wall", "-Wextra", "-Werror", copy / "main.cpp",
            *self.pkg_config("--cflags", "--libs", "holdfast-pt"), "-o", copy / "page_tables")
        expect("the example, built with pkg-config", TABLE.sub("TABLE", run(copy / "page_tables")), EXPECTED)

    def check_consumer(self, installed):
        consumer = self.folder / "consumer"
        shutil.copytree(self.args.source / "tests" / "install" / "consumer", consumer)
        headers = consumer / "headers.cpp"
        headers.write_text("".join(f'#include "{name}"\n' for name in installed))
        major, minor = map(int, self.args.version.split(".")[:2])
        before = f"{major}.{minor - 1}" if minor else ""
        self.build(consumer, consumer / "build", f"-DHEADERS={headers}", f"-DMODULES={';'.join(self.args.modules)}",
                   f"-DVERSION={self.args.version}", f"-DNEXT={major}.{minor + 1}", f"-DBEFORE={before}")
        expect("a kernel, built by CMake", run(consumer / "build" / "whole"), "boot: ENOENT\n")
        expect("a program in C", run(consumer / "build" / "user"), "restore: 0x3be0\n")
        run(self.args.compiler, "-std=c++23", consumer / "whole.cpp",
            *self.pkg_config("--cflags", "--libs", "holdfast"), "-o", consumer / "whole")
        expect("a kernel, built with pkg-config", run(consumer / "whole"), "boot: ENOENT\n")
        run(self.args.c_compiler, consumer / "user.c", *self.pkg_config("--cflags", "--libs", "holdfast-uapi"),
            "-o", consumer / "user")
        expect("pkg-config's version", self.pkg_config("--modversion", "holdfast-pt"), [self.args.version])


def main():
    parser = argparse.ArgumentParser(description="Installs the library and uses it as a stranger would.")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--c-compiler", required=True)
    parser.add_argument("--libdir", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("modules", nargs="+")
    package = Package(parser.parse_args())
    try:
        package.install()
        installed = package.check_headers()
        package.check_library_only()
        package.check_example()
        package.check_consumer(installed)
    except Failure as failure:
        print(failure)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
