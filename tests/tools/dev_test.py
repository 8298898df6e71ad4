"""./dev: answers to a wrong command line, packages that cannot be installed, and the line that ends a test run."""

import os
import shutil
import subprocess
import unittest

from support import REPOSITORY, TreeTest


class Dev(TreeTest):
    def dev(self, *arguments, path=None):
        environment = {**os.environ, **({"PATH": str(path)} if path else {})}
        return subprocess.run(["/bin/bash", REPOSITORY / "dev", *arguments], cwd=self.root, env=environment,
                              capture_output=True, text=True, timeout=120)

    def fake(self, name, script):
        path = self.write(f"bin/{name}", f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def test_a_missing_or_unknown_command_shows_the_usage(self):
        for arguments in ((), ("fly",), ("ci",), ("test", "--fast"), ("lint", "--fast"), ("fuzz", "--fast"),
                          ("fuzz", "--seconds", "soon")):
            result = self.dev(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn("usage: ./dev <command>", result.stderr)
            self.assertEqual(result.stdout, "")

    def test_help_goes_to_standard_output(self):
        self.assertIn("usage: ./dev <command>", self.dev("help").stdout)

    def prepare(self, installed):
        """A system where these packages are installed, and nobody is root."""
        for name in ("readlink", "dirname", "grep", "cat", "mktemp", "rm"):
            (self.root / "bin").mkdir(exist_ok=True)
            (self.root / "bin" / name).symlink_to(f"/usr/bin/{name}")
        self.fake("dpkg-query", f"printf '%s installed\\n' {installed}; exit 1")
        self.fake("env", f"echo \"$@\" >> {self.root}/asked")

    @unittest.skipIf(os.geteuid() == 0, "root installs what is missing")
    def test_without_rights_it_prints_the_line_to_type(self):
        self.prepare("python3")
        self.fake("sudo", "exit 1")
        result = self.dev("setup", path=self.root / "bin")
        self.assertEqual(result.returncode, 3)
        self.assertRegex(result.stderr, r"sudo apt-get update && sudo apt-get install -y --no-install-recommends g\+\+ ")
        self.assertNotIn("python3", result.stderr)

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_root_updates_once_and_installs_only_what_is_missing(self):
        self.prepare("g++ python3 clang-19")
        result = self.dev("setup", path=self.root / "bin")
        self.assertEqual(result.returncode, 0, result.stderr)
        asked = (self.root / "asked").read_text().splitlines()
        self.assertEqual(len(asked), 2, asked)
        self.assertTrue(asked[0].endswith(" update"))
        self.assertIn(" install --no-install-recommends cmake ninja-build ", asked[1])
        self.assertNotIn("clang-19 ", asked[1].replace("libclang", ""))

    def test_nothing_missing_installs_nothing(self):
        arrays = r"awk '/_packages=\(/ { inside = 1 } inside; /\)/ { inside = 0 }'"
        packages = subprocess.run(["bash", "-c", f". <({arrays} {REPOSITORY}/dev); echo "
                                   + " ".join('"${%s_packages[@]}"' % name
                                              for name in ("build", "sanitizer", "lint", "referee"))],
                                  capture_output=True, text=True, check=True).stdout
        self.prepare(packages.strip())
        result = self.dev("setup", path=self.root / "bin")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertFalse((self.root / "asked").exists())

    def test_on_another_system_it_names_the_packages(self):
        self.prepare("")
        (self.root / "bin" / "dpkg-query").unlink()
        result = self.dev("setup", path=self.root / "bin")
        self.assertEqual(result.returncode, 3)
        self.assertIn("This is not Debian", result.stderr)


# Stands in for a GoogleTest program whose tests end as its arguments say.
PROGRAM = """#!/usr/bin/env python3
import json, sys
tests = [{"name": f"t{i}", "status": "RUN", "result": "SKIPPED" if how == "skipped" else "COMPLETED", "time": "0s",
          **({"failures": [{"failure": "no"}]} if how == "failed" else {})} for i, how in enumerate(sys.argv[1].split("+"))]
path = next(part for part in sys.argv if part.startswith("--gtest_output=")).split(":", 1)[1]
open(path, "w").write(json.dumps({"testsuites": [{"name": "S", "testsuite": tests}]}))
sys.exit(int("failed" in sys.argv[1]))
"""


class ClosingLine(TreeTest):
    """A tree with the real ./dev and tools, where every package is there, and cmake and ninja do nothing."""

    def setUp(self):
        super().setUp()
        shutil.copy(REPOSITORY / "dev", self.root / "dev")
        shutil.copytree(REPOSITORY / "tools", self.root / "tools")
        (self.root / "tools/fetch_qemu10.py").write_text("")
        self.write("tests/count.txt", "0\n")
        self.fake("bin/dpkg-query", '#!/bin/sh\nfor package; do echo "$package installed"; done\n')
        self.fake("bin/cmake", "#!/bin/sh\n")
        self.fake("bin/ninja", "#!/bin/sh\n")
        self.fake("program", PROGRAM)
        self.stage("release", ("test", "serial,threads", f"{self.root}/program\tpassed+passed+skipped"))
        self.stage("asan", ("test", "serial", f"{self.root}/program\tpassed"))
        self.stage("tsan", ("test", "serial,threads", f"{self.root}/program\tpassed+passed"))
        self.stage("fuzz", ("fuzzer", "", "sh\t-c\techo Done 9 runs in 1 second"))

    def fake(self, name, text):
        self.write(name, text).chmod(0o755)

    def stage(self, preset, *programs):
        self.write(f"build/{preset}/programs.tsv",
                   "".join(f"{kind}\tp{i}\t{labels}\t30\t\t{command}\n"
                           for i, (kind, labels, command) in enumerate(programs)))

    def last_line(self, *arguments):
        environment = {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        run = subprocess.run([self.root / "dev", "test", *arguments], env=environment, capture_output=True, text=True,
                             timeout=120)
        return run.returncode, run.stdout.splitlines()[-1]

    def test_it_is_the_sum_of_all_stages(self):
        self.assertEqual(self.last_line("--all"), (0, "6 passed, 0 failed, 1 skipped"))

    def test_each_run_counts_anew(self):
        for _ in range(2):
            self.assertEqual(self.last_line(), (0, "2 passed, 0 failed, 1 skipped"))
        self.assertEqual(self.last_line("p0"), (0, "2 passed, 0 failed, 1 skipped"))

    def test_it_is_there_when_tests_fail(self):
        self.stage("asan", ("test", "serial", f"{self.root}/program\tfailed+passed+failed"))
        self.assertEqual(self.last_line("--all"), (1, "3 passed, 2 failed, 1 skipped"))

    def test_a_fuzzer_that_breaks_something_has_failed(self):
        self.stage("fuzz", ("fuzzer", "", "sh\t-c\texit 77"))
        self.assertEqual(self.last_line("--all"), (1, "5 passed, 1 failed, 1 skipped"))

    def test_what_fails_and_is_no_test_counts_as_one(self):
        self.write("tests/count.txt", "3\n")
        self.assertEqual(self.last_line(), (1, "2 passed, 1 failed, 1 skipped"))
        self.fake("bin/ninja", "#!/bin/sh\nexit 1\n")
        self.assertEqual(self.last_line(), (1, "0 passed, 1 failed, 0 skipped"))


if __name__ == "__main__":
    unittest.main()
