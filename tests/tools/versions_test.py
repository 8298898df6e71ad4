"""docs/versions.md against the code: the ledger of format numbers, and that every layout that crosses is written down."""

import re
import unittest

from support import REPOSITORY

FIRST_FOR_TESTS = 0xF0000000
LEDGER_ROW = re.compile(r"^\| (\d+) \| `(\w+)`( \*retired\*)? \|", re.M)


def formats_in_code():
    """Number -> name, in pt::Format; those of tests are left out."""
    text = (REPOSITORY / "holdfast/pt/types.hpp").read_text()
    body = re.search(r"enum class Format : u32 \{(.*?)\n\};", text, re.S).group(1)
    pairs = re.findall(r"^\s*(\w+) = (0x[0-9a-fA-F]+|\d+),", body, re.M)
    if len(pairs) != len(re.findall(r"^\s*[A-Z]\w*\b", body, re.M)):
        raise AssertionError("every format says its number, one a line")
    return [(int(number, 0), name) for name, number in pairs if int(number, 0) < FIRST_FOR_TESTS]


def ledger():
    """[(number, name, retired)], as it stands."""
    text = (REPOSITORY / "docs/versions.md").read_text()
    return [(int(number), name, bool(retired)) for number, name, retired in LEDGER_ROW.findall(text)]


class Versions(unittest.TestCase):
    def test_format_numbers_are_given_in_order_and_never_again(self):
        numbers = [number for number, _, _ in ledger()]
        self.assertTrue(numbers)
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_the_ledger_and_the_code_name_the_same_formats(self):
        living = [(number, name) for number, name, retired in ledger() if not retired]
        self.assertEqual(sorted(formats_in_code()), living, "docs/versions.md, page-table formats")

    def test_every_layout_is_documented_and_named_in_the_image_note(self):
        handover = (REPOSITORY / "docs/handover.md").read_text()
        note = (REPOSITORY / "holdfast/kernel/image_note.cpp").read_text()
        layouts = [name for header in sorted((REPOSITORY / "holdfast/abi").glob("*.hpp"))
                   for name in re.findall(r'\w*compatible = "([^"]+)"', header.read_text())]
        self.assertGreaterEqual(len(layouts), 10)
        for layout in layouts:
            self.assertIn(f"`{layout}`", handover)
            self.assertRegex(note, rf'["0]{re.escape(layout)}(\\0|:|")')


if __name__ == "__main__":
    unittest.main()
