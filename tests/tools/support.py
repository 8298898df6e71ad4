"""What the tests of the tools share: a tree of their own, and a way to run a tool on it."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "tools"


def run_tool(name, *arguments, environment=None):
    command = [sys.executable, "-B", TOOLS / name, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **(environment or {})})


class TreeTest(unittest.TestCase):
    """A test with an empty folder, self.root."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for top in ("holdfast", "sim", "vmm", "uapi"):
            (self.root / top).mkdir()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
