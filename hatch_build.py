"""Compiles retrieval_store/indexes/native/ when the package is built.

A wheel with the library is for one platform and any Python (py3-none-PLATFORM); an editable
installation gets the library beside its sources. Where it can't be compiled the package is whole
without it, since numpy searches then. RETRIEVAL_STORE_BUILD says otherwise: with "require" that is
an error, for wheels that are published; with "skip" nothing is compiled.
"""

import contextlib
import os
import shutil
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "RETRIEVAL_STORE_BUILD"
AUTOMATIC, REQUIRE, SKIP = "", "require", "skip"
FOLDER = "retrieval_store/indexes/native"
FILE = "kernel.dll" if os.name == "nt" else "kernel.so"
WITHOUT = (
    "retrieval-store is built without its compiled part, which a C compiler makes, so vectors will "
    "be searched by numpy, several times slower"
)
# No product is fused with a sum but where the sources say so, whichever compiler it is.
UNIX = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]
MSVC = ["/std:c11", "/O2"]


class CompiledPart(BuildHookInterface):
    """Puts the library into a wheel, or beside the sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        mode = os.environ.get(VARIABLE, AUTOMATIC)
        if mode not in (AUTOMATIC, REQUIRE, SKIP):
            raise ValueError(f"{VARIABLE}={mode!r} should be {REQUIRE!r}, {SKIP!r} or not set")
        self._folder = tempfile.TemporaryDirectory()
        native = Path(self.root, FOLDER)
        if version == "editable":  # what is there may be of other sources
            (native / FILE).unlink(missing_ok=True)
        made = None if mode == SKIP else self._compiled(native, mode)
        if made is None:
            return
        library, windows = made
        if version == "editable":
            placed(library, native / FILE)
            return
        tag = self.build_config.builder.get_best_matching_tag()
        build_data["tag"] = f"py3-none-{windows or tag.split('-')[-1]}"
        build_data["pure_python"] = False
        build_data["force_include"][str(library)] = f"{FOLDER}/{FILE}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._folder.cleanup()

    def _compiled(self, native: Path, mode: str) -> tuple[Path, str] | None:
        try:
            return compiled(native, Path(self._folder.name))
        except Exception as error:  # whatever is amiss with a compiler, the package installs
            if mode == REQUIRE:
                raise RuntimeError(f"{VARIABLE}={mode}, and compiling failed: {error}") from error
            why = textwrap.shorten(f"{type(error).__name__}: {error}", 120, placeholder=" …")
            self.app.display_warning(f"warning: {WITHOUT} ({why}); {VARIABLE}={REQUIRE} tells more")
            return None


def placed(library: Path, place: Path) -> None:
    """Move it there in one step: a process may have loaded the file that was there before."""
    beside = place.with_name(f"{place.name}.new")
    shutil.copyfile(library, beside)
    beside.replace(place)


def compiled(native: Path, folder: Path) -> tuple[Path, str]:
    """The library, made in that folder by the compiler that extensions of this Python are made
    with, or by CC; on Windows the platform that it is for besides, which may be another than this
    one."""
    # Here, so that the package installs where setuptools is missing, too.
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    class BuildLibrary(build_ext):
        """Builds a library for ctypes, which no Python needs to know as a module of its own."""

        def get_ext_filename(self, fullname: str) -> str:
            return FILE

        def get_export_symbols(self, ext: Extension) -> list[str]:
            return []  # the sources say which, and there is no PyInit

        def build_extension(self, ext: Extension) -> None:
            msvc = self.compiler.compiler_type == "msvc"
            ext.extra_compile_args = MSVC if msvc else UNIX
            ext.libraries = [] if os.name == "nt" else ["m"]
            super().build_extension(ext)

    extensions = [Extension("kernel", sorted(source.name for source in native.glob("*.c")))]
    command = BuildLibrary(Distribution({"name": "kernel", "ext_modules": extensions}))
    command.build_lib = str(folder)
    command.build_temp = str(folder / "objects")
    with contextlib.chdir(native):  # paths of objects hold those of sources, and may get too long
        command.ensure_finalized()
        command.run()
    library = folder / FILE
    if not library.is_file():
        raise FileNotFoundError(f"the compiler made no {FILE}")
    windows = command.plat_name.replace("-", "_") if os.name == "nt" else ""
    return library, windows
