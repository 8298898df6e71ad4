"""tools/run_fuzzers.py: what breaks a run, where the input is, and what counts as covered."""

import json
import os
import unittest

from support import TreeTest, run_tool

# Stands in for a libFuzzer program: writes what it was called with, then does what `script` says.
PROGRAM = """#!/bin/sh
echo "$@" > {called}
{script}
"""
DONE = "echo 'Done 12345 runs in 1 second(s)'"
CRASH = ("for a; do case $a in -artifact_prefix=*) to=${a#*=}crash-1;; esac; done; echo input > $to;"
         " echo \"artifact_prefix='x'; Test unit written to $to\"; exit 77")


class RunFuzzers(TreeTest):
    def setUp(self):
        super().setUp()
        self.lines, self.covers = [], []

    def add(self, name, script, sources=(), corpus=True):
        path = self.write(f"bin/{name}", PROGRAM.format(called=self.root / f"{name}.called", script=script))
        path.chmod(0o755)
        self.lines.append(f"fuzzer\t{name}\t\t300\t\t{path}\n")
        self.covers.append("\t".join([name, *sources]) + "\n")
        if corpus:
            self.write(f"fuzz/corpus/{name}/seed", "seed")

    def run_fuzzers(self, *arguments, **options):
        for build in ("fuzz", "coverage"):
            self.write(f"build/{build}/programs.tsv", "test\tbase_test\t\t30\t\tfalse\n" + "".join(self.lines))
            self.write(f"build/{build}/covers.tsv", "".join(self.covers))
        return run_tool("run_fuzzers.py", self.root, *arguments, **options)

    def called_with(self, name):
        return (self.root / f"{name}.called").read_text().split()

    def test_says_how_many_inputs_ran_and_writes_only_below_the_build_folder(self):
        self.add("one_fuzz", DONE)
        run = self.run_fuzzers("--seconds", "1")
        self.assertEqual((run.returncode, run.stdout), (0, "one_fuzz: 12,345 executions in 0 s\n"))
        arguments = self.called_with("one_fuzz")
        self.assertIn("-max_total_time=1", arguments)
        folders = [a for a in arguments if not a.startswith("-")]  # libFuzzer writes to the first
        self.assertEqual(folders, [f"{self.root}/build/fuzz/found/one_fuzz", f"{self.root}/fuzz/corpus/one_fuzz"])

    def test_names_the_input_that_broke_a_fuzzer_and_runs_the_others(self):
        self.add("bad_fuzz", CRASH)
        self.add("good_fuzz", DONE, corpus=False)
        run = self.run_fuzzers("--seconds", "1")
        self.assertEqual(run.returncode, 1)
        reproducer = self.root / "build/fuzz/broken/bad_fuzz-crash-1"
        self.assertIn(f"bad_fuzz: the input that did it is {reproducer}\n", run.stdout)
        self.assertTrue(reproducer.exists())
        self.assertIn("--- bad_fuzz: exit code 77\n", run.stdout)
        self.assertIn("\ngood_fuzz: 12,345 executions", run.stdout)

    def test_a_fuzzer_that_ran_nothing_or_leaves_a_process_fails(self):
        for script in ("exit 0", "echo 'Done 0 runs in 1 second(s)'", f"sleep 60 & {DONE}", "kill -9 $$"):
            self.lines.clear()
            self.add("idle_fuzz", script)
            self.assertEqual(self.run_fuzzers("--seconds", "1").returncode, 1, script)

    def test_a_filter_selects_by_part_of_the_name(self):
        self.add("pt_verify_fuzz", DONE)
        self.add("dmar_fuzz", "exit 1")
        run = self.run_fuzzers("--seconds", "1", "verify")
        self.assertEqual((run.returncode, run.stdout.count("\n")), (0, 1), run.stdout)
        run = self.run_fuzzers("--seconds", "1", "absent")
        self.assertEqual((run.returncode, run.stderr), (2, "no fuzzer matches absent\n"))

    def cover(self, **lines):
        """The coverage run, with LLVM's tools replaced: source -> (lines covered, lines)."""
        files = [{"filename": f"{self.root}/{name.replace('_', '/')}.cpp",
                  "summary": {"lines": {"covered": covered, "count": count}}} for name, (covered, count) in lines.items()]
        self.write("export.json", json.dumps({"data": [{"files": files}]}))
        for tool, script in (("llvm-profdata-19", "exit 0"), ("llvm-cov-19", f"cat {self.root}/export.json")):
            self.write(f"bin/{tool}", f"#!/bin/sh\n{script}\n").chmod(0o755)
        return self.run_fuzzers("--coverage", environment={"PATH": f"{self.root}/bin:{os.environ['PATH']}"})

    def test_coverage_is_of_the_named_sources_and_by_the_corpus_alone(self):
        self.add("one_fuzz", "exit 0", ["vtd/dmar.cpp"])
        run = self.cover(vtd_dmar=(90, 100), vtd_other=(0, 50))
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn(" 90.0 %     90 of   100 lines  vtd/dmar.cpp\n", run.stdout)
        self.assertNotIn("other", run.stdout)
        self.assertEqual(self.called_with("one_fuzz"), ["-runs=0", f"{self.root}/fuzz/corpus/one_fuzz"])

    def test_coverage_below_ninety_per_cent_fails(self):
        self.add("one_fuzz", "exit 0", ["vtd/dmar.cpp", "vtd/absent.cpp"])
        run = self.cover(vtd_dmar=(899, 1000))
        self.assertEqual(run.returncode, 1)
        self.assertIn(" 89.9 %    899 of  1000 lines  vtd/dmar.cpp  below 90 %", run.stdout)
        self.assertIn("  0.0 %      0 of     0 lines  vtd/absent.cpp  below 90 %", run.stdout)

    def test_coverage_needs_sources_a_corpus_and_a_run_that_ends_well(self):
        for script, sources, corpus, said in (("exit 0", [], True, "names no sources"),
                                              ("exit 0", ["vtd/dmar.cpp"], False, "has no corpus"),
                                              ("exit 77", ["vtd/dmar.cpp"], True, "exit code 77")):
            self.setUp()
            self.add("one_fuzz", script, sources, corpus)
            run = self.cover(vtd_dmar=(100, 100))
            self.assertEqual(run.returncode, 1)
            self.assertIn(said, run.stdout)


if __name__ == "__main__":
    unittest.main()
