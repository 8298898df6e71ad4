"""tools/run_benchmarks.py: what the table shows, and that only a failure fails, never a time."""

import json
import unittest

from support import TreeTest, run_tool

# Stands in for a Google Benchmark program: writes `report` where it is told to.
PROGRAM = """#!/bin/sh
echo "$@" > {folder}/{name}.called
for a; do case $a in --benchmark_out=*) cp {folder}/{name}.report "${{a#*=}}";; esac; done
exit {exit_code}
"""


def repetitions(name, family, values, **more):
    """Records of one row; values: the counters of each repetition."""
    place = {"name": name, "run_name": name, "family_index": family, "per_family_instance_index": 0, **more}
    return [{**place, "run_type": "iteration", **counters} for counters in values] + [
        {**place, "name": f"{name}_median", "run_type": "aggregate", "ns": 0.5, "yardstick_ns": 99.0}]


class RunBenchmarks(TreeTest):
    def setUp(self):
        super().setUp()
        self.lines = []

    def add(self, name, records, exit_code=0):
        path = self.write(f"bin/{name}", PROGRAM.format(folder=self.root, name=name, exit_code=exit_code))
        path.chmod(0o755)
        self.write(f"{name}.report", json.dumps({"context": {"num_cpus": 2}, "benchmarks": records}))
        self.lines.append(f"bench\t{name}\t\t300\t\t{path}\n")

    def run_benchmarks(self, *arguments):
        self.write("build/programs.tsv", "test\tbase_test\t\t30\t\tfalse\n" + "".join(self.lines))
        return run_tool("run_benchmarks.py", self.root / "build", *arguments)

    def table(self, *arguments, exit_code=0):
        run = self.run_benchmarks(*arguments)
        self.assertEqual(run.returncode, exit_code, run.stdout + run.stderr)
        return [line.split() for line in run.stdout.splitlines()[1:]]

    def test_a_row_is_the_median_of_its_repetitions_beside_its_yardstick(self):
        values = [{"ns": 10.0, "yardstick_ns": 5.0, "target": 1.4}, {"ns": 6.0, "yardstick_ns": 5.0, "target": 1.4},
                  {"ns": 60.0, "yardstick_ns": 50.0, "target": 1.4}]
        self.add("pt_bench", repetitions("map_4k/vtd/manual_time", 0, values, label="exchange"))
        self.assertEqual(self.table(), [["map_4k/vtd", "10.00", "5.00", "1.20", "1.40", "met", "exchange"]])

    def test_a_missed_target_is_shown_and_is_no_error(self):
        self.add("pt_bench", repetitions("unmap", 0, [{"ns": 9.0, "yardstick_ns": 3.0, "target": 2.2}] * 3))
        self.assertEqual(self.table(), [["unmap", "9.00", "3.00", "3.00", "2.20", "not", "met"]])

    def test_rows_stand_as_they_were_registered_and_may_lack_a_yardstick_or_a_target(self):
        self.add("pt_bench", repetitions("second", 1, [{"ns": 2.0, "yardstick_ns": 1.0}]) +
                 repetitions("first", 0, [{"ns": 1234.5}]))
        self.assertEqual(self.table(), [["first", "1,234.50", "-", "-", "-"], ["second", "2.00", "1.00", "2.00", "-"]])

    def test_a_row_that_fails_or_reports_nothing_fails_the_run(self):
        for record, said in (({"error_occurred": True, "error_message": "no memory"}, ["no", "memory"]),
                             ({"real_time": 3.0}, ["reports", "no", "counter", "ns"])):
            self.lines.clear()
            self.add("pt_bench", repetitions("row", 0, [record]) + repetitions("good", 1, [{"ns": 1.0}]))
            rows = self.table(exit_code=1)
            self.assertEqual(rows[0], ["row", "failed", "-", "-", "-", *said])
            self.assertEqual(rows[1][0], "good")

    def test_a_program_that_fails_fails_the_run_and_the_others_are_shown(self):
        self.add("bad_bench", [], exit_code=1)
        self.add("good_bench", repetitions("row", 0, [{"ns": 1.0}]))
        self.assertEqual(self.table(exit_code=1), [["row", "1.00", "-", "-", "-"]])

    def test_names_select_programs_and_a_filter_their_rows(self):
        self.add("pt_bench", repetitions("row", 0, [{"ns": 1.0}]))
        self.add("kho_bench", [], exit_code=1)
        self.assertEqual(len(self.table("pt", "--filter", "map.*")), 1)
        called = (self.root / "pt_bench.called").read_text().split()
        self.assertIn("--benchmark_filter=map.*", called)
        self.assertIn("--benchmark_repetitions=9", called)
        self.assertIn("--benchmark_enable_random_interleaving=true", called)
        self.assertFalse((self.root / "kho_bench.called").exists())
        self.assertEqual(self.run_benchmarks("vtd").returncode, 2)

    def test_the_table_is_written_as_json_and_the_reports_are_kept(self):
        self.add("pt_bench", repetitions("row", 0, [{"ns": 4.0, "yardstick_ns": 2.0, "target": 3.0}], label="fill"))
        self.table("--json", self.root / "out.json")
        written = json.loads((self.root / "out.json").read_text())
        self.assertEqual((written["schema"], written["context"]), ("holdfast.bench/1", {"num_cpus": 2}))
        self.assertEqual(written["rows"], [{"program": "pt_bench", "row": "row", "ns": 4.0, "yardstick": "fill",
                                            "yardstick_ns": 2.0, "ratio": 2.0, "target": 3.0, "met": True, "error": ""}])
        self.assertTrue((self.root / "build/bench/pt_bench.json").exists())


if __name__ == "__main__":
    unittest.main()
