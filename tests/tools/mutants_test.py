"""tools/run_mutants.py: each verdict, on a small project of its own."""

import unittest

from support import TreeTest, run_tool

CMAKE = """cmake_minimum_required(VERSION 3.25)
project(small LANGUAGES CXX)
add_executable(small_test small_test.cpp)
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/programs.tsv CONTENT "test\\tsmall_test\\t\\t30\\t\\t$<TARGET_FILE:small_test>\\n")
"""
PRESETS = """{"version": 6, "configurePresets": [{"name": "release", "generator": "Ninja",
  "binaryDir": "${sourceDir}/build/release", "cacheVariables": {"CMAKE_CXX_COMPILER": "g++"}}]}
"""
# Stands in for a GoogleTest program with the one test S.doubles.
PROGRAM = """#include <cstdio>
#include <cstdlib>
#include <cstring>
static int twice(int a) { return a * 2; }
static_assert(sizeof(int) == 4);
int main(int count, char** words) {
  bool wanted = false;
  for (int i = 1; i < count; ++i)
    if (std::strcmp(words[i], "--gtest_filter=S.doubles") == 0) wanted = true;
  int ready = 1;
  if (ready != 1) std::exit(3);
  if (!wanted) return 0;
  std::puts("[ RUN      ] S.doubles");
  std::fflush(stdout);
  int running = 1;
  return twice(3) == 6 && running == 1 ? 0 : 1;
}
"""


class Mutants(TreeTest):
    def setUp(self):
        super().setUp()
        self.write("CMakeLists.txt", CMAKE)
        self.write("CMakePresets.json", PRESETS)
        self.program = self.write("small_test.cpp", PROGRAM)

    def entries(self, *entries):
        text = ""
        for old, new, more in entries:
            values = {"file": "small_test.cpp", "old": old, "new": new, "program": "small_test", "test": "S.doubles", **more}
            text += "[[mutant]]\n" + "".join(f"{key} = '{value}'\n" for key, value in values.items())
        self.write("tools/mutants/small.toml", text)

    def test_tells_killed_survived_not_built_and_stale_apart(self):
        self.entries(
            ("a * 2", "a * 3", {}),
            ("a * 2", "a + a", {}),
            ("a * 2", "a *", {}),
            ("sizeof(int) == 4", "sizeof(int) == 5", {"by": "build"}),
            ("a * 2", "2 * a", {"by": "build"}),
            ("a / 2", "a", {}),
            ("a * 2", "a * 4", {"test": "S.none"}),
            ("int running = 1;", "for (;;) new int[99999]; int running = 1;", {}),
            ("int running = 1;", "std::abort(); int running = 1;", {}),
            ("int ready = 1;", "int ready = 2;", {}),
            ("int ready = 1;", "std::abort(); int ready = 1;", {}))
        run = run_tool("run_mutants.py", self.root)
        verdicts = [line[:9].strip() for line in run.stdout.splitlines()[:-1]]
        self.assertEqual(verdicts, ["killed", "SURVIVED", "NOT BUILT", "killed", "SURVIVED", "STALE", "STALE", "killed",
                                    "killed", "NOT RUN", "NOT RUN"], run.stdout + run.stderr)
        self.assertEqual(run.returncode, 1)
        self.assertEqual(self.program.read_text(), PROGRAM)

        self.entries(("a * 2", "a * 5", {}), ("a * 2", "a + a", {"test": "S.other"}))
        run = run_tool("run_mutants.py", self.root, "S.doubles")
        self.assertEqual((run.returncode, run.stdout.splitlines()[-1]), (0, "1 killed"))

    def test_says_that_the_unbroken_tree_does_not_build(self):
        self.entries(("a * 2", "a * 3", {}))
        self.program.write_text(PROGRAM + "oops")
        run = run_tool("run_mutants.py", self.root)
        self.assertEqual(run.returncode, 1)
        self.assertIn("the unbroken tree does not build", run.stderr)


if __name__ == "__main__":
    unittest.main()
