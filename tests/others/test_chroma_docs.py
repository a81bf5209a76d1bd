"""docs/chroma.md has every public name of chromadb, of its client and of its collection, and says
"the same" only of those that are here."""

import re
import types

import chromadb
import pytest

import retrieval_store
import retrieval_store.chromadb
from retrieval_store.errors import NameNotHereError
from tests.helpers import ROOT

TEXT = (ROOT / "docs" / "chroma.md").read_text().partition("## Every name")[2]
PARTS = re.split(r"^\| (?:`chromadb\.…`|of a client|of a collection) .*$", TEXT, flags=re.MULTILINE)


def told_in(part):
    """What the table of a part says of each name."""
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {name: told for names, told in rows for name in re.findall(r"`([A-Za-z_]+)`", names)}


NAMES = dict(zip(("module", "client", "collection"), map(told_in, PARTS[1:]), strict=True))
TYPING = {"Dict", "Optional", "Union", "Path"}  # what its module imports


def public(thing):
    return {
        name
        for name in dir(thing)
        if not name.startswith("_") and not isinstance(getattr(thing, name), types.ModuleType)
    }


@pytest.fixture(scope="module")
def theirs():
    client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
    collection = client.get_or_create_collection("names", embedding_function=None)
    yield {"module": chromadb, "client": type(client), "collection": type(collection)}
    client.delete_collection("names")


OURS = {
    "module": retrieval_store.chromadb,
    "client": retrieval_store.Client,
    "collection": retrieval_store.Collection,
}


@pytest.mark.parametrize("part", OURS)
def test_every_name_is_told(theirs, part):
    names = public(theirs[part]) - TYPING
    assert not names - set(NAMES[part])
    for name in names:
        is_here = NAMES[part][name].startswith(("the same", "differs"))
        assert is_here == has(OURS[part], name), name


def has(thing, name):
    """Whether a thing has a name; names that chromadb has say why they aren't here."""
    try:
        getattr(thing, name)
    except AttributeError:
        assert thing is not retrieval_store.chromadb, f"{name} isn't refused by name"
        return False
    except NameNotHereError:
        return False
    return True
