#!/usr/bin/env python3
"""Builds the wheel of libloop: pure Python, and the shared library for one platform.

Usage: build_wheel.py [--library FILE] [DIRECTORY]

It is also the build backend of pyproject.toml, and needs no other package and no network. The library is the
one given, or that of LIBLOOP_LIBRARY, or build/libloop.so of the source tree, which ../build.sh makes. The
platform in the name of the wheel says which version of glibc the library asks for. Equal inputs give equal
bytes.
"""

import argparse
import base64
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE / "src" / "libloop"
BUNDLED = "libloop.so.0"
_DATE = (1980, 1, 1, 0, 0, 0)


def find_library():
    """Returns the path of the library; builds it if there is none."""
    chosen = os.environ.get("LIBLOOP_LIBRARY")
    if chosen:
        return pathlib.Path(chosen)
    library = HERE.parent / "build" / "libloop.so"
    if not library.exists():
        subprocess.run([str(HERE.parent / "build.sh"), "lib"], check=True)
    return library


def version():
    """The version of the package: that of the header it mirrors."""
    return re.search(r'^VERSION = "(.*)"$', (PACKAGE / "_abi.py").read_text(), re.MULTILINE).group(1)


def platform_tag(library):
    """The tag of PEP 600 for the newest symbols of glibc that the library needs."""
    if not sys.platform.startswith("linux"):
        return sysconfig.get_platform().replace("-", "_").replace(".", "_")
    needed = re.findall(rb"GLIBC_2\.(\d+)", library)
    machine = {62: "x86_64", 183: "aarch64"}.get(int.from_bytes(library[18:20], "little"))
    if not needed or machine is None:
        raise SystemExit("build_wheel.py: the library is not for glibc on x86_64 or aarch64")
    return f"manylinux_2_{max(map(int, needed))}_{machine}"


def metadata():
    """The file METADATA."""
    return (
        "Metadata-Version: 2.1\n"
        "Name: libloop\n"
        f"Version: {version()}\n"
        "Summary: An event loop on io_uring and epoll, for plain Python and for asyncio\n"
        "License: MIT\n"
        "Requires-Python: >=3.9\n"
        "Classifier: Operating System :: POSIX :: Linux\n"
        "Classifier: Framework :: AsyncIO\n"
        "Classifier: Typing :: Typed\n"
        "Description-Content-Type: text/markdown\n"
        "\n" + (HERE / "README.md").read_text()
    ).encode()


def write_wheel(directory, contents, tag):
    """Writes the archive of {name: bytes}, with what every wheel has; returns its name."""
    info = f"libloop-{version()}.dist-info"
    contents[f"{info}/METADATA"] = metadata()
    contents[f"{info}/LICENSE"] = (HERE.parent / "LICENSE").read_bytes()
    contents[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: libloop\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    )
    record = ""
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\n"
    contents[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    name = f"libloop-{version()}-{tag}.whl"
    with zipfile.ZipFile(pathlib.Path(directory) / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if path.endswith(BUNDLED) else 0o644) << 16
            archive.writestr(entry, data)
    return name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """PEP 517: builds the wheel and returns its name."""
    library = find_library().resolve().read_bytes()
    sources = sorted(path for path in PACKAGE.iterdir() if path.suffix in (".py", ".typed"))
    contents = {f"libloop/{path.name}": path.read_bytes() for path in sources}
    contents[f"libloop/{BUNDLED}"] = library
    return write_wheel(wheel_directory, contents, f"py3-none-{platform_tag(library)}")


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """PEP 660: a wheel that only points to the sources; the library is found by LIBLOOP_LIBRARY."""
    contents = {"_libloop.pth": f"{PACKAGE.parent}\n".encode()}
    return write_wheel(wheel_directory, contents, "py3-none-any")


def build_sdist(sdist_directory, config_settings=None):
    """PEP 517 asks for this function. The library's sources are Go, outside this folder."""
    raise NotImplementedError("libloop is built from the source tree of the project, with ./build.sh wheel")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--library", help="the shared library to carry")
    parser.add_argument("directory", nargs="?", default=".")
    arguments = parser.parse_args()
    if arguments.library:
        os.environ["LIBLOOP_LIBRARY"] = arguments.library
    pathlib.Path(arguments.directory).mkdir(parents=True, exist_ok=True)
    print(pathlib.Path(arguments.directory) / build_wheel(arguments.directory))


if __name__ == "__main__":
    main()
