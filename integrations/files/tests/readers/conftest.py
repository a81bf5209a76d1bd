import pytest

from retrieval_store_files.readers.child import ReaderProcess


@pytest.fixture(scope="session")
def process():
    with ReaderProcess() as process:
        yield process
