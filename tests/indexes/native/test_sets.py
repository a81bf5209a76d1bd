"""The compiled scans without Python: under sanitizers, for another processor, and for Windows."""

import shutil
import subprocess

import pytest

from tests.helpers import ROOT

HERE = ROOT / "tests" / "indexes" / "native"
SOURCES = ROOT / "retrieval_store" / "indexes" / "native"
SANITIZERS = "address,undefined,float-cast-overflow,integer-divide-by-zero"
SANITIZED = [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all"]
ARM = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64"
WINDOWS = "x86_64-w64-mingw32-gcc"
WINE = "wine"


def compared(tmp_path, compiler, options, *runner):
    """The output of the comparison of all instruction sets, built by this compiler."""
    program, sources = tmp_path / "compare.exe", sorted(SOURCES.glob("*.c"))
    strict = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}"]
    build = [compiler, *strict, *options, HERE / "compare.c", *sources, "-o", program, "-lm"]
    subprocess.run(list(map(str, build)), check=True)
    done = subprocess.run([*runner, program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2_000:]
    return done.stdout


@pytest.mark.others
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
def test_no_scan_loses_a_row_or_writes_out_of_bounds(tmp_path):
    assert compared(tmp_path, "gcc", SANITIZED).endswith(": 0 wrong\n")


@pytest.mark.slow
def test_arm_processors_find_the_same(tmp_path):
    skip_without(ARM, EMULATOR, "gcc-aarch64-linux-gnu, qemu-user")
    reported = compared(tmp_path, ARM, ["-static"], EMULATOR)
    assert " neon" in reported and reported.endswith(": 0 wrong\n")


@pytest.mark.slow
def test_windows_finds_the_same(tmp_path, monkeypatch):
    skip_without(WINDOWS, WINE, "gcc-mingw-w64-x86-64, wine, wine64")
    monkeypatch.setenv("WINEPREFIX", str(tmp_path / "wine"))
    reported = compared(tmp_path, WINDOWS, ["-static"], WINE)
    assert " scalar" in reported and reported.endswith(": 0 wrong\n")


def skip_without(compiler, runner, packages):
    if shutil.which(compiler) is None or shutil.which(runner) is None:
        pytest.skip(f"{compiler} or {runner} isn't there (Debian: {packages})")
