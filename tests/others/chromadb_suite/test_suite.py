"""chromadb's own tests of its API, included in its package, run on this store."""

import os
import re
import subprocess
import sys
from pathlib import Path

import chromadb

from tests.helpers import ROOT

TESTS = Path(chromadb.__file__).parent / "test" / "test_api.py"
# What differs on purpose; docs/chroma.md says it in words.
DIFFERENT = {
    "test_get_nearest_neighbors": "scores are there, besides distances",
    "test_increment_index_on": "scores",
    "test_get_nearest_neighbors_where_n_results_more_than_element": "scores",
    "test_metadata_validation_add": "objects in metadata are taken",
    "test_metadata_validation_update": "objects in metadata",
    "test_where_valid_operators": "strings are compared in order",
    "test_query_id_filtering_e2e": "ids that don't exist restrict a query to nothing",
    "test_delete_with_limit_requires_where": "other words",
    "test_modify_warn_on_DF_change": "other words",
    "test_query_document_valid_operators": "other words",
    "test_invalid_id": "other words",
    "test_invalid_n_results_param": "a ValueError, not a TypeError",
    "test_default_embedding": "chromadb's own default function, which is downloaded",
    "test_error_includes_trace_id": "of its server",
    "test_persist_index_loading": "of its files",
    "test_persist_index_loading_embedding_function": "of its files",
    "test_persist_index_get_or_create_embedding_function": "of its files",
    "test_persist": "of its files",
    "test_persist_index_loading_params": "of its files",
}


def test_chromadbs_own_tests_of_its_api_pass_except_for_deliberate_differences(tmp_path):
    options = "--noconftest -p tests.others.chromadb_suite.bridge -p no:cacheprovider -q --tb=no"
    run = [sys.executable, "-m", "pytest", *options.split(), "-c", os.devnull, "-rfE", "-k"]
    run += [
        "not http and not ssl",
        f"--rootdir={tmp_path}",
        f"--basetemp={tmp_path / 'base'}",
        TESTS,
    ]
    done = subprocess.run(
        list(map(str, run)), cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S*::(\w+)", done.stdout, re.MULTILINE))
    assert failed == set(DIFFERENT), done.stdout[-3_000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 130
