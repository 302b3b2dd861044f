"""The programs of docs/python.md: each is run, and prints what the page says."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"
PROGRAM = re.compile(r"^```python program\n(.*?)^```\n```output\n(.*?)^```", re.DOTALL | re.MULTILINE)


class GuideTest(unittest.TestCase):
    """The page."""

    def test_programs(self):
        programs = PROGRAM.findall(PAGE.read_text())
        self.assertEqual(len(programs), PAGE.read_text().count("```python program"))
        self.assertGreater(len(programs), 3)
        for number, (program, output) in enumerate(programs):
            with self.subTest(number), tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "program.py"
                path.write_text(program)
                result = subprocess.run([sys.executable, str(path)], cwd=folder, timeout=60, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                self.assertEqual((result.stdout, result.returncode), (output, 0), program)


if __name__ == "__main__":
    unittest.main()
