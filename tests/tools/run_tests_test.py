"""tools/run_tests.py: a run fails for every reason it should, and results say what happened."""

import json
import unittest

from support import TreeTest, run_tool

# Stands in for a GoogleTest program: prints and reports `cases` (name -> result) in GoogleTest's words.
PROGRAM = '''#!/usr/bin/env python3
import json, os, subprocess, sys, time
cases = {cases!r}
options = dict(part.split("=", 1) for part in sys.argv[1:])
shard, shards = int(os.environ["GTEST_SHARD_INDEX"]), int(os.environ["GTEST_TOTAL_SHARDS"])
wanted = options.get("--gtest_filter", "*").strip("*")
mine = [name for i, name in enumerate(n for n in cases if wanted in "S." + n) if i % shards == shard]
reports = []
for name in mine:
    print(f"[ RUN      ] S.{{name}}", flush=True)
    what = cases[name]
    if what == "crash": os.abort()
    if what == "hang": time.sleep(60)
    if what == "orphan": subprocess.Popen(["sleep", "60"])
    report = {{"name": name, "status": "RUN", "result": "SKIPPED" if what == "skip" else "COMPLETED", "time": "0.01s"}}
    if what == "fail":
        print("expected one, got two")
        report["failures"] = [{{"failure": "no"}}]
    if what.startswith("rows "): report["acceptance"] = what[5:]
    print(f"[  {{'FAILED  ' if what == 'fail' else '     OK '}}] S.{{name}} (0 ms)")
    reports.append(report)
suite = {{"name": "S", "testsuite": reports}}
if "suite rows" in cases.values(): suite["acceptance"] = "K1"
path = options["--gtest_output"].split(":", 1)[1]
open(path, "w").write(json.dumps({{"tests": len(mine), "testsuites": [suite] if reports else []}}))
sys.exit(3 if "late" in cases.values() else int("fail" in [cases[n] for n in mine]))
'''


class RunTests(TreeTest):
    def setUp(self):
        super().setUp()
        self.lines = []

    def add(self, name, cases, labels="", timeout=30):
        path = self.write(f"build/{name}", PROGRAM.format(cases=cases))
        path.chmod(0o755)
        self.lines.append(f"test\t{name}\t{labels}\t{timeout}\t\t{path}")

    def add_check(self, name, exit_code, rows=""):
        self.lines.append(f"check\t{name}\t\t30\t{rows}\tsh\t-c\techo said; exit {exit_code}")

    def run_all(self, *arguments):
        self.write("build/programs.tsv", "\n".join(self.lines) + "\n")
        return run_tool("run_tests.py", self.root / "build", "--jobs", "2", *arguments)

    def results(self):
        report = json.loads((self.root / "build/test/results.json").read_text())
        return {test["name"]: (test["result"], test["acceptance"]) for test in report["tests"]}

    def test_records_every_test_once_with_its_rows(self):
        self.add("a_test", {"one": "pass", "two": "rows K1 K2", "three": "skip", "Four_K3_IV4": "pass", "five/K9": "pass"})
        self.add_check("layers", 0, "T8")
        run = self.run_all()
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertIn("5 tests ran, 0 failed, 1 skipped", run.stdout)
        self.assertEqual(self.results(), {
            "S.one": ("passed", []), "S.two": ("passed", ["K1", "K2"]), "S.three": ("skipped", []),
            "S.Four_K3_IV4": ("passed", ["IV4", "K3"]), "S.five/K9": ("passed", []), "layers": ("passed", ["T8"])})

    def test_shows_the_output_of_failed_tests_only(self):
        self.add("a_test", {"one": "pass", "two": "fail", "three": "pass"}, "serial")
        run = self.run_all()
        self.assertEqual(run.returncode, 1)
        self.assertIn("--- a_test: S.two\n[ RUN      ] S.two\nexpected one, got two", run.stdout)
        self.assertNotIn("S.three", run.stdout)

    def test_a_crash_fails_and_names_the_test(self):
        self.add("a_test", {"one": "pass", "two": "crash"}, "serial")
        run = self.run_all()
        self.assertEqual(run.returncode, 1)
        self.assertIn("a_test was killed by SIGABRT in S.two", run.stdout)
        self.assertEqual(self.results(), {"S.two": ("failed", [])})

    def test_a_test_that_hangs_fails(self):
        self.add("a_test", {"one": "hang"}, timeout=1)
        run = self.run_all()
        self.assertEqual(run.returncode, 1)
        self.assertIn("a_test ran out of time after 1 s in S.one", run.stdout)

    def test_a_process_left_behind_fails(self):
        self.add("a_test", {"one": "orphan"})
        run = self.run_all()
        self.assertEqual(run.returncode, 1)
        self.assertIn("a_test left a process running", run.stdout)

    def test_an_error_after_the_last_test_fails(self):
        self.add("a_test", {"one": "late"}, "serial")
        run = self.run_all()
        self.assertEqual(run.returncode, 1)
        self.assertIn("a_test exit code 3", run.stdout)

    def test_a_program_without_tests_or_without_a_file_fails(self):
        self.add("a_test", {})
        self.lines.append(f"test\tb_test\t\t30\t\t{self.root}/none")
        run = self.run_all()
        self.assertEqual(run.returncode, 1)
        self.assertIn("a_test has no tests", run.stdout)
        self.assertIn("b_test exit code 127", run.stdout)

    def test_rows_recorded_outside_a_test_fail(self):
        self.add("a_test", {"one": "suite rows"}, "serial")
        self.assertIn("acceptance ids recorded for suite S, not in a test", self.run_all().stdout)

    def test_a_check_passes_skips_or_fails_by_its_exit_code(self):
        self.add_check("good", 0)
        self.add_check("absent", 77)
        self.add_check("bad", 4)
        run = self.run_all()
        self.assertEqual(run.returncode, 1)
        self.assertIn("--- bad exit code 4\nsaid", run.stdout)
        self.assertEqual({k: v[0] for k, v in self.results().items()},
                         {"good": "passed", "absent": "skipped", "bad": "failed"})

    def test_a_filter_runs_less_and_keeps_the_last_results(self):
        self.add("a_test", {"one": "pass", "two": "fail"})
        self.add("b_test", {"three": "pass"})
        self.run_all()
        before = self.results()
        self.assertEqual(self.run_all("S.one").returncode, 0)
        self.assertEqual(self.run_all("b_test").returncode, 0)
        self.assertEqual(self.run_all("a_test").returncode, 1)
        self.assertEqual(self.run_all("S.none").returncode, 2)
        self.assertEqual(self.results(), before)

    def test_fewer_tests_than_the_floor_fail(self):
        self.add("a_test", {"one": "pass", "two": "pass", "three": "skip"})
        floor = self.write("count.txt", "3\n")
        run = self.run_all("--floor", floor)
        self.assertEqual(run.returncode, 1)
        self.assertIn("1 tests fewer ran", run.stdout)

    def test_the_floor_rises_only_when_told_and_never_sinks(self):
        self.add("a_test", {"one": "pass", "two": "pass"})
        floor = self.write("count.txt", "1\n")
        self.run_all("--floor", floor)
        self.assertEqual(floor.read_text(), "1\n")
        self.run_all("--floor", floor, "--record")
        self.assertEqual(floor.read_text(), "2\n")
        self.lines.clear()
        self.add("a_test", {"one": "pass"})
        self.assertEqual(self.run_all("--floor", floor, "--record").returncode, 1)
        self.assertEqual(floor.read_text(), "2\n")

    def test_says_that_nothing_is_built(self):
        self.assertEqual(run_tool("run_tests.py", self.root / "none").returncode, 3)


if __name__ == "__main__":
    unittest.main()
