"""The wheel: built twice, installed without a network into an environment of its own, and used there."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

PYTHON = pathlib.Path(__file__).resolve().parents[1]


def output(*command, **options):
    """What a command prints; it must succeed."""
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **options).stdout


class WheelTest(unittest.TestCase):
    """A new user's way."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def build(self, name):
        path = output(sys.executable, str(PYTHON / "build_wheel.py"), str(self.folder / name)).strip()
        return pathlib.Path(path)

    def test_equal_inputs_give_equal_bytes(self):
        digests = {hashlib.sha256(self.build(name).read_bytes()).digest() for name in ("one", "two")}
        self.assertEqual(len(digests), 1)

    def test_tag_says_which_glibc(self):
        wheel = self.build("tagged")
        with zipfile.ZipFile(wheel) as archive:
            library = self.folder / "libloop.so"
            library.write_bytes(archive.read("libloop/libloop.so.0"))
            self.assertIn("libloop/py.typed", archive.namelist())
        symbols = output("objdump", "-T", str(library))
        needed = max(int(line.split("GLIBC_2.")[1].split(")")[0].split(".")[0])
                     for line in symbols.splitlines() if "GLIBC_2." in line)
        self.assertIn(f"-py3-none-manylinux_2_{needed}_", wheel.name)

    def test_installed_without_network(self):
        wheel = self.build("dist")
        environment = dict(os.environ)
        environment.pop("PYTHONPATH", None)
        environment.pop("LIBLOOP_LIBRARY", None)
        output(sys.executable, "-m", "venv", str(self.folder / "venv"))
        python = str(self.folder / "venv" / "bin" / "python")
        pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
        output(*pip, "install", "--no-index", str(wheel), env=environment)
        program = (
            "import asyncio, libloop; from libloop._library import native\n"
            "async def main():\n"
            "    return await asyncio.get_running_loop().read_file('/proc/self/comm')\n"
            "print(native.path, libloop.run(main()).decode().strip(), libloop.library_version())"
        )
        path, name, version = output(python, "-c", program, env=environment, cwd=self.folder).split()
        self.assertTrue(path.startswith(str(self.folder / "venv")), path)
        with open("/proc/self/comm") as file:
            self.assertEqual(name.split(".")[0][:6], file.read().strip()[:6])
        self.assertEqual(version, wheel.name.split("-")[1])
        output(*pip, "uninstall", "-y", "libloop", env=environment)
        self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    unittest.main()
