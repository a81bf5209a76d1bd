"""Which instruction set is used, and the message if none can be."""

import os
import subprocess
import sys

import pytest

from retrieval_store.indexes.native import CHOICE, kernel
from tests.helpers.indexed import with_codes

QUERY = """
import logging
logging.basicConfig(format="%(name)s: %(message)s")
import numpy as np, retrieval_store
things = retrieval_store.Client().create_collection("things", embedding_function=None)
vectors = np.random.default_rng(0).standard_normal((3_000, 256))
things.add(ids=[str(i) for i in range(3_000)], embeddings=vectors)
explanation = things.explain(query_embeddings=vectors[7])
print(things.query(query_embeddings=vectors[7], n_results=1)["ids"])
print(things.stats()["compiled"]["instructions"], *explanation["remarks"])
"""


def used(instructions, first=""):
    """The output and the end of a process with this instruction set in its environment. first: code
    that runs before."""
    environment = {**os.environ, CHOICE: instructions}
    command = [sys.executable, "-c", first + QUERY]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


@with_codes
@pytest.mark.parametrize("name", [] if kernel() is None else kernel().names)
def test_the_instruction_set_that_is_named_is_used(name):
    done = used(name)
    assert done.stdout.split()[:2] == ["[['7']]", name] and not done.stderr


def test_without_libraries_numpy_searches_and_explain_says_what_to_do():
    done = used("none")
    found, reported = done.stdout.splitlines()
    assert found == "[['7']]" and reported.startswith("None ") and "C compiler" in reported


@with_codes
def test_an_unsupported_instruction_set_is_refused_with_the_supported_ones():
    # The background may meet the same, and log it in the middle of the message.
    done = used("mmx", "import logging\nlogging.disable()\n")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    (message,) = (line for line in lines if line.startswith("retrieval_store.errors.Invalid"))
    assert "is 'mmx'" in message and "'scalar'" in message
