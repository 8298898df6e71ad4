"""./dev: answers to a wrong command line, and packages that cannot be installed."""

import os
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


if __name__ == "__main__":
    unittest.main()
