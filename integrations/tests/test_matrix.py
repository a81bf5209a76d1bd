"""A collection written by each interface and used by each other one, on one directory and in other
processes. The impossible combinations are in the tables here, and in `docs/exchange.md`.
"""

import itertools
import re

import pytest

import retrieval_store
from integrations.tests.faces import (
    FACES,
    IDS,
    MODEL,
    RECORDS,
    SINCE,
    FaceError,
    Started,
)
from retrieval_store.qdrant import QdrantClient, models

SHIPS, OVEN, VIOLIN = IDS
BOATS, MOON, NEW, YEAR = "boats on water", "the moon", "A telescope shows the moon.", 1999
RECENT = {point_id for point_id, (_, metadata) in RECORDS.items() if metadata["year"] >= SINCE}
ALL = {point_id: [text, metadata] for point_id, (text, metadata) in RECORDS.items()}
CHANGED = {**ALL, OVEN: [NEW, {"topic": "food", "year": YEAR}]}
# Acts that a face has no way for, with what it says.
NEVER = {
    ("MCP", "by_vector"): "search has no argument 'vector'; its arguments",
    ("MCP", "export"): "no tool 'export': there are 'collections', 'search'",
    ("QdrantClient", "by_remembered"): "is not found among supported models",
    ("HTTP", "by_remembered"): "there is no model ''.*embedding functions by the names",
}
# Collections of these faces remember no embedding function, so these acts need one that is named,
# or vectors.
NONE_REMEMBERED = "QdrantClient", "HTTP"
NEEDS_FUNCTION = {
    ("Client", "by_remembered"): "nothing can be embedded.*pass vectors, or embedding_function=",
    ("LangChain", "by_remembered"): "made without embedding=.*search by vector, or",
    ("LlamaIndex", "by_remembered"): "nothing can be embedded without an embedding function",
    ("command line", "by_remembered"): "nothing can be embedded without an embedding function",
    ("command line", "update"): "has no model; --model is for a new one",
    ("MCP", "by_remembered"): "nothing can be embedded without an embedding function",
    ("MCP", "update"): "nothing can be embedded without an embedding function",
}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("crossings") / "store"


@pytest.fixture(scope="module")
def faces(path):
    """Each interface, in its own process, on one directory."""
    started = {name: Started(name, path) for name in FACES}
    yield started
    for face in started.values():
        face.end()


def refusal(writer, other, act):
    """The message with which an interface refuses this action on a collection of the writer's; None
    if it accepts."""
    never = NEVER.get((other, act))
    needs = NEEDS_FUNCTION.get((other, act)) if writer in NONE_REMEMBERED else None
    return never or needs


@pytest.fixture
def name():
    """The name of this test's own collection."""
    return f"crossing-{next(_numbers)}"


@pytest.fixture
def ask(faces, name, writer, other):
    """Calls the other interface on a new collection of the writer's. Returns the result, or None
    where the call is refused with the expected message."""
    faces[writer].write(name)

    def asked(act, *arguments):
        message = refusal(writer, other, act)
        try:
            answer = getattr(faces[other], act)(name, *arguments)
        except FaceError as error:
            assert message is not None, f"{act}: {error}"
            assert re.search(message, str(error), re.DOTALL), f"{act}: {error}"
            return None
        assert message is None, f"{act} should be refused, and gave {answer}"
        return answer

    return asked


@pytest.mark.parametrize("other", FACES)
@pytest.mark.parametrize("writer", FACES)
def test_what_one_face_writes_each_other_reads_searches_and_changes(
    faces, name, ask, writer, other
):
    assert ask("read") == ALL
    assert set(ask("filtered")) == RECENT
    assert ask("by_text", BOATS)[0] == SHIPS
    assert ask("by_words", "violin") == [VIOLIN]
    for act in ("by_remembered", "by_vector"):
        found = ask(act, BOATS)
        assert found is None or found[0] == SHIPS
    assert ask("export") in (None, ALL)
    assert ask("explain", BOATS) == len(RECENT)

    is_updated = refusal(writer, other, "update") is None
    ask("update", OVEN, NEW, YEAR)
    now = CHANGED if is_updated else ALL
    if is_updated:
        assert ask("by_text", MOON)[0] == OVEN
        assert (ask("by_words", "telescope"), ask("by_words", "Bread")) == ([OVEN], [])
    ask("delete", SHIPS)
    left = {point_id: now[point_id] for point_id in (OVEN, VIOLIN)}
    assert ask("read") == left
    back = faces[writer]
    assert back.read(name) == left
    assert back.by_text(name, MOON if is_updated else "a hot oven")[0] == OVEN
    assert SHIPS not in back.by_text(name, BOATS)


@pytest.mark.parametrize("other", FACES)
@pytest.mark.parametrize("writer", ["Client"])
def test_a_store_that_stays_open_sees_what_the_others_write(path, name, ask, writer, other):
    with retrieval_store.Client(path) as client:
        kept = client.get_collection(name)
        assert kept.query(query_texts=BOATS)["ids"][0][0] == SHIPS
        ask("delete", SHIPS)
        assert kept.query(query_texts=BOATS)["ids"][0][0] != SHIPS
        assert kept.count() == 2
        kept.upsert(SHIPS, documents="Boats float.", metadatas={"topic": "sea", "year": 2020})
        assert ask("read")[SHIPS] == ["Boats float.", {"topic": "sea", "year": 2020}]
        assert set(ask("filtered")) == {*RECENT, SHIPS}


@pytest.mark.parametrize("other", FACES)
def test_an_update_keeps_the_other_fields_of_a_record(faces, path, name, other):
    deep = {"a": [1, None, {"b": True}], "é": "ü"}
    kept = {"topic": "sea", "deep": deep, "tags": ["x"], "big": 2**53 + 1, "none": [], "f": 0.5}
    with retrieval_store.Client(path) as client:
        made = client.create_collection(name, embedding_function=MODEL)
        made.add(SHIPS, documents="A ship.", metadatas={**kept, "year": 2020})
        faces[other].update(name, SHIPS, NEW, YEAR)
        (metadata,) = made.get()["metadatas"]
        metadata.pop("_node", None)  # LlamaIndex's, for its own sake
        assert metadata == {**kept, "year": YEAR}


@pytest.mark.parametrize("other", FACES)
def test_records_without_text_or_metadata_are_read_and_exported(faces, path, name, other):
    with retrieval_store.Client(path) as client:
        made = client.create_collection(name, embedding_function=MODEL)
        made.add(OVEN, embeddings=[[1.0] * 256])
        made.add(VIOLIN, embeddings=[[1.0] * 256], documents="Text alone.")
        nothing = {"topic": None, "year": None}
        wanted = {OVEN: ["", nothing], VIOLIN: ["Text alone.", nothing]}
        assert faces[other].read(name) == wanted
        if (other, "export") not in NEVER:
            assert faces[other].export(name) == wanted
        assert len(faces[other].by_text(name, "text")) == 2


@pytest.mark.parametrize("writer", NONE_REMEMBERED)
def test_without_a_function_agents_find_words_and_change_metadata(faces, name, writer):
    faces[writer].write(name)
    assert faces["MCP"].by_text(name, "violin strings") == [VIOLIN]
    faces["MCP"].change(name, OVEN, YEAR)
    assert faces[writer].read(name)[OVEN] == [ALL[OVEN][0], {"topic": "food", "year": YEAR}]


@pytest.mark.parametrize("writer", NONE_REMEMBERED)
def test_without_a_function_the_command_line_updates_with_vectors(faces, name, writer):
    faces[writer].write(name)
    faces["command line"].update_with_vector(name, OVEN, NEW, YEAR)
    assert faces[writer].read(name) == CHANGED
    assert faces[writer].by_text(name, MOON)[0] == OVEN


@pytest.mark.parametrize("other", FACES)
def test_ids_of_any_text_are_known_to_all(faces, path, name, other):
    face = faces[other]
    with retrieval_store.Client(path) as client:
        made = client.create_collection(name, embedding_function=MODEL)
        made.add(["ship 1", "7"], documents=["A ship.", "A drum."], metadatas=[{"year": 1}] * 2)
        assert {point_id: text for point_id, (text, _) in face.read(name).items()} == {
            "ship 1": "A ship.",
            "7": "A drum.",
        }
        assert face.by_text(name, "boat")[0] == "ship 1"
        face.delete(name, "ship 1")
        assert made.get()["ids"] == ["7"]


@pytest.mark.parametrize("other", FACES)
def test_numbers_of_qdrants_are_their_texts_elsewhere(faces, path, name, other):
    texts = {7: "A ship.", 8: "A drum."}
    with QdrantClient(path=str(path)) as client:
        client.create_collection(name, models.VectorParams(size=256, distance="Cosine"))
        points = [
            models.PointStruct(
                id=number,
                vector=models.Document(text=text, model=MODEL),
                payload={"_document": text, "year": number},
            )
            for number, text in texts.items()
        ]
        client.upsert(name, points)
        read = faces[other].read(name)
        assert {str(one): text for one, (text, _) in read.items()} == {
            "7": "A ship.",
            "8": "A drum.",
        }
        faces[other].delete(name, 7 if other in NONE_REMEMBERED else "7")
        assert [one.id for one in client.scroll(name)[0]] == [8]


def test_a_collection_of_named_vectors_is_refused_to_other_faces(faces, path, name):
    with QdrantClient(path=str(path)) as client:
        client.create_collection(name, {"image": models.VectorParams(size=2, distance="Dot")})
    for other in ("Client", "LangChain", "LlamaIndex", "command line"):
        with pytest.raises(FaceError, match="made by QdrantClient, with vectors of another kind"):
            faces[other].read(name)
    with pytest.raises(FaceError, match=f"no collection '{name}'"):
        faces["MCP"].read(name)
    assert faces["HTTP"].read(name) == faces["QdrantClient"].read(name) == {}


@pytest.mark.parametrize("writer", FACES)
def test_the_page_searches_by_text_what_remembers_a_function(faces, name, writer):
    faces[writer].write(name)
    if writer in NONE_REMEMBERED:
        with pytest.raises(FaceError, match="embedding function"):
            faces["HTTP"].by_page(name, BOATS)
    else:
        assert faces["HTTP"].by_page(name, BOATS)[0] == SHIPS
