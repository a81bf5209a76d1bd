"""The packages around the core, and example packages, installed as a user would, into their own
folder.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import ROOT

EXAMPLES = ROOT / "examples"
AROUND = ROOT / "integrations"
PACKAGES = {  # those around the core, by the names that are imported
    "langchain_retrieval_store": AROUND / "langchain/langchain_retrieval_store",
    "llama_index.vector_stores.retrieval_store": (
        AROUND / "llama_index/llama_index/vector_stores/retrieval_store"
    ),
    **{
        f"retrieval_store_{name}": AROUND / name / f"retrieval_store_{name}"
        for name in ("agents", "cluster", "files", "server")
    },
}


def installed(package: str, folder: Path) -> dict[str, str]:
    """The environment in which the example package is installed, offline and separate from ours."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--offline"]
    command += ["--python", sys.executable, "--no-build-isolation", "--no-cache"]
    command += ["--target", str(folder), str(EXAMPLES / package)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    paths = [str(folder), os.environ["PYTHONPATH"]]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(program: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
