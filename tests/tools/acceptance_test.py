"""tools/acceptance.py: which rows count as proved."""

import json
import sys
import unittest

from support import TOOLS, TreeTest, run_tool

sys.path.insert(0, str(TOOLS))
import acceptance  # noqa: E402


class Acceptance(TreeTest):
    def run_on(self, *tests):
        ids = self.write("tools/ids.txt", "# rows\nK handover: K1 K2 K3\nIV VT-d: IV1\n")
        records = [{"program": "a_test", "name": "S.t", "result": result, "seconds": 0, "acceptance": rows}
                   for result, rows in tests]
        results = self.write("build/results.json", json.dumps({"when": 4e9, "tests": records}))
        return run_tool("acceptance.py", results, ids)

    def test_counts_a_row_that_a_passed_test_carries(self):
        result = self.run_on(("passed", ["K1", "IV1"]), ("passed", ["K1"]))
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stdout, "K 1/3     handover\n          missing: K2 K3\nIV 1/1    VT-d\nproved 2 of 4\n")

    def test_does_not_count_skipped_or_failed_tests(self):
        result = self.run_on(("skipped", ["K1"]), ("failed", ["K2"]), ("passed", ["K2"]))
        self.assertEqual(result.stdout.splitlines()[-1], "proved 0 of 4")

    def test_refuses_an_id_that_no_row_has(self):
        result = self.run_on(("passed", ["K4"]))
        self.assertEqual(result.returncode, 1)
        self.assertIn("S.t carries K4", result.stderr)

    def test_says_that_there_are_no_results(self):
        result = run_tool("acceptance.py", self.root / "none.json", self.root / "ids.txt")
        self.assertEqual(result.returncode, 3)

    def test_says_that_the_source_is_newer_than_the_results(self):
        ids = self.write("tools/ids.txt", "K handover: K1\n")
        results = self.write("build/results.json", json.dumps({"when": 1, "tests": []}))
        self.assertIn("is newer than the last complete", run_tool("acceptance.py", results, ids).stderr)

    def test_the_list_of_rows_is_whole(self):
        sections = acceptance.read_ids(TOOLS / "acceptance_ids.txt")
        rows = [row for letter, _, rows in sections for row in rows]
        self.assertEqual(len(rows), 237)
        self.assertEqual(len(set(rows)), 237)
        for letter, _, rows in sections:
            self.assertEqual(rows, [f"{letter}{number}" for number in range(1, len(rows) + 1)])


if __name__ == "__main__":
    unittest.main()
