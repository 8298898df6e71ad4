"""tools/check_text.py: what every text file has in common."""

import unittest

from support import TreeTest, run_tool


class Text(TreeTest):
    def complaints(self, name, content):
        path = self.write(name, "")
        path.write_bytes(content)
        result = run_tool("check_text.py", self.root)
        self.assertEqual(result.returncode, 1 if result.stdout else 0)
        path.unlink()
        return result.stdout

    def test_accepts_a_plain_file(self):
        self.assertEqual(self.complaints("holdfast/a.cpp", b"int a;\n"), "")

    def test_accepts_an_empty_and_a_binary_file(self):
        self.assertEqual(self.complaints("holdfast/a.cpp", b""), "")
        self.assertEqual(self.complaints("docs/a.png", b"\x89PNG\0 "), "")

    def test_refuses_names_that_say_nothing(self):
        for name in ("holdfast/utils.hpp", "holdfast/common/a.hpp", "misc.py", "tests/Util.cpp"):
            self.assertIn("says nothing", self.complaints(name, b"\n" if name == "misc.py" else b"a\n"))

    def test_refuses_markers_of_unfinished_work(self):
        marker = ("TO" + "DO").encode()
        self.assertIn("a.cpp:2: marks unfinished work", self.complaints("a.cpp", b"int a;\n// " + marker + b": more\n"))

    def test_refuses_a_missing_newline_trailing_space_and_an_empty_last_line(self):
        self.assertIn("does not end with a newline", self.complaints("a.cpp", b"int a;"))
        self.assertIn("a.cpp:1: ends with white space", self.complaints("a.cpp", b"int a; \n"))
        self.assertIn("ends with an empty line", self.complaints("a.cpp", b"int a;\n\n"))

    def test_leaves_recorded_data_and_builds_alone(self):
        self.assertEqual(self.complaints("tests/data/pages.json", b"{} "), "")
        self.assertEqual(self.complaints("build/release/a.txt", b"a "), "")


if __name__ == "__main__":
    unittest.main()
