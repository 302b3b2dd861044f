"""The types of the package, as mypy sees them: those inside, and those that a program meets. Debian: mypy."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

PYTHON = pathlib.Path(__file__).resolve().parents[1]
CONSUMER = pathlib.Path(__file__).with_name("typed_consumer.py")


def check(path):
    """The lines that mypy prints about a file or folder: errors, then a summary."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(PYTHON / "pyproject.toml"),
               "--cache-dir", os.devnull, str(path)]
    environment = {**os.environ, "MYPYPATH": str(PYTHON / "src")}
    result = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    return result.stdout.splitlines()


class TypesTest(unittest.TestCase):
    """py.typed says that there are types; they are right."""

    def test_package(self):
        self.assertRegex("\n".join(check(PYTHON / "src" / "libloop")), r"^Success: no issues found in \d\d ")

    def test_a_program(self):
        self.assertEqual(check(CONSUMER), ["Success: no issues found in 1 source file"])

    def test_mistakes_are_refused(self):
        text = CONSUMER.read_text()
        wrong = [number for number, line in enumerate(text.splitlines(), 1) if "# refused: " in line]
        self.assertGreater(len(wrong), 3)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "wrong.py"
            path.write_text(text.replace("# refused: ", ""))
            lines = check(path)
        found = {int(number) for number in re.findall(r"wrong\.py:(\d+): error: ", "\n".join(lines))}
        self.assertEqual(sorted(found), wrong, lines)

    def test_the_program_runs(self):
        result = subprocess.run([sys.executable, str(CONSUMER)], text=True, stdout=subprocess.PIPE)
        self.assertEqual((result.returncode, result.stdout.splitlines()[0]), (0, str(10 + len("127.0.0.1"))))


if __name__ == "__main__":
    if importlib.util.find_spec("mypy") is None:
        print("mypy is not installed (Debian: mypy)")
        sys.exit(77)  # to CTest: skipped
    unittest.main()
