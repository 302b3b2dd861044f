"""The mirror in libloop._abi against the C header, which a C compiler reads, and what of it has a method."""

import ast
import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from libloop import _abi, library_version

PROJECT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = PROJECT / "include"
CONSTANTS = {
    "LOOP_BACKEND_AUTO": _abi.BACKEND_AUTO,
    "LOOP_BACKEND_EPOLL": _abi.BACKEND_EPOLL,
    "LOOP_BACKEND_IO_URING": _abi.BACKEND_IO_URING,
    "LOOP_BACKEND_KQUEUE": _abi.BACKEND_KQUEUE,
    "LOOP_BACKEND_IOCP": _abi.BACKEND_IOCP,
    "LOOP_THREADS_PER_CPU": _abi.THREADS_PER_CPU,
    "LOOP_THREADS_MAX": _abi.THREADS_MAX,
    "LOOP_THREAD_BOUND": _abi.THREAD_BOUND,
    "LOOP_MORE": _abi.MORE,
    "LOOP_BUFFER": _abi.BUFFER,
    "LOOP_READABLE": _abi.READABLE,
    "LOOP_WRITABLE": _abi.WRITABLE,
    "LOOP_HANGUP": _abi.HANGUP,
    "LOOP_ERROR": _abi.ERROR,
    "LOOP_EDGE_TRIGGERED": _abi.EDGE_TRIGGERED,
    "LOOP_MULTISHOT": _abi.MULTISHOT,
    "LOOP_SEND_ALL": _abi.SEND_ALL,
    "LOOP_NO_OFFSET": _abi.NO_OFFSET,
    "LOOP_BUFFERS_MAX": _abi.BUFFERS_MAX,
    "LOOP_POSTS_MAX": _abi.POSTS_MAX,
}
# How a C type appears in a prototype here.
C_TYPES = {
    "int": ctypes.c_int,
    "loop_fd_t": ctypes.c_int,
    "uint32_t": ctypes.c_uint32,
    "loop_socklen_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "int64_t": ctypes.c_int64,
    "size_t": ctypes.c_size_t,
    "void": None,
}


def compiler():
    """A C compiler."""
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")


def run_c(body):
    """Compiles a main of this body with the header and returns the lines it prints."""
    includes = "".join(f"#include <{name}.h>\n" for name in ("stdio", "stddef", "loop"))
    source = f"{includes}int main(void) {{\n{body}\nreturn 0; }}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "abi.c"
        path.write_text(source)
        command = [compiler(), f"-I{INCLUDE}", str(path), "-o", folder + "/abi"]
        subprocess.run(command, check=True)
        return subprocess.check_output([folder + "/abi"], text=True).splitlines()


def declarations():
    """Name to (result, parameters), as the header has them."""
    text = re.sub(r"/\*.*?\*/", "", (INCLUDE / "loop.h").read_text(), flags=re.DOTALL)
    found = {}
    for declaration in re.findall(r"^LOOP_API\s+(.*?);", text, re.DOTALL | re.MULTILINE):
        declaration = " ".join(declaration.split())
        result, name, parameters = re.match(r"(.*?\W)(loop_\w+)\((.*)\)$", declaration).groups()
        # A parameter that is a function has commas of its own.
        parameters = re.sub(r"\(\*\w+\)\([^()]*\)", "*", parameters)
        found[name] = (result.strip(), [] if parameters == "void" else parameters.split(", "))
    return found


def bound():
    """The functions of the library that the package calls."""
    names = set()
    for path in pathlib.Path(_abi.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).lstrip("_") == "native":
                names.add(node.attr)
    return names - {"path"}


def left_out():
    """Those that the guide says have no method, each with a reason."""
    guide = (PROJECT / "docs/python.md").read_text()
    return dict(re.findall(r"^\| `(loop_\w+)` \| (\S.*) \|$", guide, re.MULTILINE))


class AbiTest(unittest.TestCase):
    """Sizes, offsets, constants, functions."""

    def test_structures(self):
        body, expected = "", []
        for name, mirror in _abi.STRUCTURES.items():
            body += f'printf("%zu\\n", sizeof({name}));\n'
            expected.append(ctypes.sizeof(mirror))
            for field, _ in mirror._fields_:
                member = getattr(mirror, field)
                body += f'printf("%zu %zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));\n'
                expected.append((member.offset, member.size))
        lines = [tuple(map(int, line.split())) for line in run_c(body)]
        self.assertEqual(lines, [entry if isinstance(entry, tuple) else (entry,) for entry in expected])

    def test_constants(self):
        body = "".join(f'printf("%llu\\n", (unsigned long long){name});\n' for name in CONSTANTS)
        self.assertEqual(dict(zip(CONSTANTS, map(int, run_c(body)))), CONSTANTS)

    def test_functions_are_complete(self):
        self.assertEqual(set(_abi.PROTOTYPES), set(declarations()))

    def test_every_function_has_a_method_or_a_reason(self):
        exported = set((PROJECT / "capi/abi.txt").read_text().split())
        self.assertEqual(bound() & set(left_out()), set())
        self.assertEqual(bound() | set(left_out()), exported)

    def test_prototypes(self):
        for name, (result, parameters) in declarations().items():
            restype, *argtypes = _abi.PROTOTYPES[name]
            with self.subTest(name):
                self.assertEqual(len(argtypes), len(parameters))
                self.check_type(restype, result)
                for argtype, parameter in zip(argtypes, parameters):
                    self.check_type(argtype, parameter)

    def check_type(self, mirror, declaration):
        if "*" in declaration or "loop_callback_t" in declaration:
            self.assertEqual(ctypes.sizeof(mirror), ctypes.sizeof(ctypes.c_void_p), declaration)
            self.assertNotIn(mirror, (ctypes.c_uint64, ctypes.c_int64, ctypes.c_size_t), declaration)
        else:
            words = [word for word in declaration.split() if word != "const"]
            self.assertIs(mirror, C_TYPES[words[0]], declaration)

    def test_version(self):
        (line,) = run_c("puts(LOOP_VERSION_STRING);")
        self.assertEqual((line, line), (_abi.VERSION, library_version()))


if __name__ == "__main__":
    unittest.main()
