"""Random programs on a store while it is copied, and copies that are killed between any two steps.

A program is defined by its seed: the same number makes the same collections, and the same changes,
at the same steps of a copy. A copy runs in a child of this process, which is really killed.
"""

import os
import random
import signal
import traceback
from contextlib import suppress

import numpy as np
from qdrant_client import models

import retrieval_store
from retrieval_store.errors import NotFoundError, RetrievalStoreError
from retrieval_store.qdrant import QdrantClient
from retrieval_store_cluster.copying import journal, pages
from retrieval_store_cluster.store import ClusterPoints, ClusterStore
from tests.helpers import copies, inside
from tests.helpers.forks import begin_child

NAMES = ("aaa", "bbb", "ccc", "ddd")
ALIASES = ("xxx", "yyy", "zzz")
IDS = 30
# Between any two of these a copy may be killed, or the source changed.
STEPS = (
    (ClusterStore, "create change drop"),
    (ClusterPoints, "put delete"),
    (journal, "_write"),
    (inside.Store, "create adopt_collection change drop change_aliases page record aliases close"),
    (
        inside.PointStore,
        "put delete transact add_space drop_space configure_index spaces position changes_since"
        " get count",
    ),
)


class Program:
    """Random changes of a store, through both fronts."""

    halves = 0.3  # of collections, whose vectors are of float16

    def __init__(self, rng, client, qdrant):
        self.rng, self.client, self.qdrant = rng, client, qdrant

    def step(self):
        """One change; changes that a front refuses are skipped."""
        change = self.rng.choices(*self.changes())[0]
        with suppress(RetrievalStoreError, ValueError, AssertionError):
            try:
                change(self)
            except Exception as error:
                if type(error).__name__ not in ("UnexpectedResponse", "Refused"):
                    raise

    def changes(self):
        return CHANGES, WEIGHTS

    def name(self):
        return self.rng.choice(NAMES)

    def new_name(self):
        return self.name()

    def collection(self):
        return self.client.get_collection(self.name(), embedding_function=None)

    def ids(self):
        return [f"{i}" for i in self.rng.sample(range(IDS), self.rng.randint(1, 4))]

    def numbers(self):
        return [self.rng.randint(-2, 2) + 0.5, self.rng.randint(-2, 2)]

    def make(self):
        configuration = {"hnsw": {"space": self.rng.choice(["l2", "ip", "cosine"])}}
        if self.rng.random() < 0.4:
            configuration["sparse"] = {"idf": True}
        if self.rng.random() < self.halves:
            configuration["vectors"] = {"datatype": "float16"}
        self.client.create_collection(
            self.new_name(), configuration, {"made": self.rng.random()}, embedding_function=None
        )

    def drop(self):
        self.client.delete_collection(self.name())

    def rename(self):
        self.collection().modify(name=self.new_name())

    def swap(self):
        """Two collections swap names."""
        one, other = self.rng.sample(NAMES, 2)
        first = self.client.get_collection(one, embedding_function=None)
        second = self.client.get_collection(other, embedding_function=None)
        first.modify(name="between")
        second.modify(name=one)
        first.modify(name=other)

    def modify(self):
        self.collection().modify(metadata={"made": self.rng.random()})

    def configure(self):
        self.collection().modify(configuration={"hnsw": {"ef_search": self.rng.randint(1, 99)}})

    def texts(self):
        language = self.rng.choice(["english", "german", None])
        self.collection().modify(configuration={"text": {"language": language}})

    def upsert(self):
        things, ids = self.collection(), self.ids()
        records = {"documents": [f"text {self.rng.randint(0, 3)} of {one}" for one in ids]}
        if things.configuration.get("sparse") and self.rng.random() < 0.5:
            sparse = [{"indices": [self.rng.randint(0, 3)], "values": [1.0]} for _ in ids]
            records["sparse_embeddings"] = sparse
        metadatas = [{"n": self.rng.randint(0, 3)} for _ in ids]
        things.upsert(ids, [self.numbers() for _ in ids], metadatas, **records)

    def delete(self):
        self.collection().delete(self.ids())

    def add_again(self):
        """Delete and add, which moves points to the end."""
        things, ids = self.collection(), self.ids()
        there = things.get(ids, include=["embeddings", "documents", "metadatas"])
        things.delete(there["ids"])
        things.add(there["ids"], there["embeddings"], there["metadatas"], there["documents"])

    def make_named(self):
        vectors = {"v": models.VectorParams(size=2, distance=models.Distance.DOT)}
        if self.rng.random() < 0.5:
            vectors = models.VectorParams(size=2, distance=models.Distance.COSINE)
        self.qdrant.create_collection(
            self.name(), vectors, sparse_vectors_config={"s": models.SparseVectorParams()}
        )

    def drop_named(self):
        self.qdrant.delete_collection(self.rng.choice((*NAMES, *ALIASES)))

    def point(self):
        params = self.qdrant.get_collection(self.name_there()).config.params
        dense = params.vectors
        names = [*dense, *(params.sparse_vectors or {})] if isinstance(dense, dict) else []
        vector = {} if isinstance(dense, dict) else {"": self.numbers()}
        for name in names:
            if self.rng.random() < 0.7:
                sparse = models.SparseVector(indices=[self.rng.randint(0, 3)], values=[1.0])
                size = None if name not in dense else dense[name].size
                vector[name] = sparse if size is None else (self.numbers() * 2)[: size or 2]
        return models.PointStruct(
            id=self.rng.randint(0, IDS), vector=vector, payload={"k": self.rng.randint(0, 3)}
        )

    def name_there(self):
        self.there = self.rng.choice((*NAMES, *ALIASES))
        return self.there

    def upsert_named(self):
        point = self.point()
        self.qdrant.upsert(self.there, [point])

    def delete_named(self):
        ids = self.rng.sample(range(IDS), 3)
        self.qdrant.delete(self.name_there(), models.PointIdsList(points=ids))

    def lose_vectors(self):
        ids = self.rng.sample(range(IDS), 3)
        self.qdrant.delete_vectors(self.name_there(), [self.rng.choice(["v", "w", "s"])], ids)

    def index(self):
        self.qdrant.create_payload_index(
            self.name_there(), "k", self.rng.choice(["integer", "keyword"])
        )

    def unindex(self):
        self.qdrant.delete_payload_index(self.name_there(), "k")

    def add_vectors(self):
        size = self.rng.choice([2, 3])
        dense = models.DenseVectorConfig(size=size, distance=models.Distance.EUCLID)
        config = models.DenseVectorNameConfig(dense=dense)
        self.qdrant.create_vector_name(self.name_there(), self.rng.choice(["v", "w"]), config)

    def drop_vectors(self):
        self.qdrant.delete_vector_name(self.name_there(), self.rng.choice(["v", "w", "s"]))

    def describe(self):
        self.qdrant.update_collection(self.name_there(), metadata={"m": self.rng.random()})

    def graph(self):
        changed = models.HnswConfigDiff(ef_construct=self.rng.randint(10, 99))
        self.qdrant.update_collection(self.name_there(), hnsw_config=changed)

    def alias(self):
        made = models.CreateAlias(collection_name=self.name(), alias_name=self.rng.choice(ALIASES))
        self.aliases(models.CreateAliasOperation(create_alias=made))

    def alias_as_named(self):
        """A name becomes an alias, or the reverse."""
        name = self.name()
        self.drop_named()
        made = models.CreateAlias(collection_name=name, alias_name=self.name())
        self.aliases(models.CreateAliasOperation(create_alias=made))

    def unalias(self):
        gone = models.DeleteAlias(alias_name=self.rng.choice((*ALIASES, *NAMES)))
        self.aliases(models.DeleteAliasOperation(delete_alias=gone))

    def aliases(self, operation):
        self.qdrant.update_collection_aliases([operation])


P = Program
POINTS = [P.upsert, P.delete, P.add_again, P.upsert_named, P.delete_named, P.lose_vectors]
SETTINGS = [P.modify, P.configure, P.texts, P.index, P.unindex, P.describe, P.graph]
CATALOG = [
    *(P.make, P.drop, P.rename, P.swap, P.make_named, P.drop_named, P.add_vectors),
    *(P.drop_vectors, P.alias, P.alias_as_named, P.unalias),
]
CHANGES = [*POINTS, *SETTINGS, *CATALOG]
WEIGHTS = [*[6] * len(POINTS), *[1] * len(SETTINGS), *[2] * len(CATALOG)]


class Lasting(Program):
    """Changes that a copy which is run again transfers: no collection is deleted or renamed."""

    def changes(self):
        return LASTING, [6] * len(POINTS) + [1] * (len(LASTING) - len(POINTS))


LASTING = [*POINTS, *SETTINGS, P.make, P.make_named, P.add_vectors, P.drop_vectors]


class OfClusters(Program):
    """Names that a cluster can have: none that belonged to another collection."""

    halves = 0

    def changes(self):
        return OF_CLUSTERS, [6] * 3 + [1] * (len(OF_CLUSTERS) - 3)

    def name(self):
        names = [one.name for one in self.client.list_collections()]
        return self.rng.choice(names) if names else "none"

    def new_name(self):
        return f"name-{self.rng.randint(0, 10**9)}"


OF_CLUSTERS = [P.upsert, P.delete, P.add_again, P.modify, P.configure, P.make, P.make]


def changed(seed, path, count, kind=Program):
    """Make `count` changes of the store."""
    with retrieval_store.Client(path) as client, QdrantClient(path=path) as qdrant:
        program = kind(random.Random(seed), client, qdrant)
        for _ in range(count):
            program.step()


class Hooks:
    """An event between two steps of a copy: nothing, a change of the source, or the end."""

    def __init__(self, rng, kill_at):
        self.rng, self.left = rng, kill_at
        self.program, self.share, self.inside = None, 0.0, True

    def install(self):
        for owner, names in STEPS:
            for name in names.split():
                self._wrap(owner, name)

    def _wrap(self, owner, name):
        real = getattr(owner, name)

        def stepped(*args, **kwargs):
            self.step()
            found = real(*args, **kwargs)
            self.step()
            return found

        setattr(owner, name, stepped)

    def step(self):
        if self.inside:
            return
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.program is not None and self.rng.random() < self.share:
            self.inside = True
            self.program.step()
            self.inside = False


def copy(seed, source, target, kill_at, beside, by_points):
    """One copy, in this process, which may be killed at a step. beside: the source is changed between
    its steps."""
    rng = random.Random(seed)
    hooks = Hooks(rng, kill_at)
    hooks.install()
    on_cluster = str(target).startswith("http")
    kind = OfClusters if on_cluster else Lasting
    if by_points:
        copies.by_points(page=rng.choice([3, 5, 50]))
    with (
        retrieval_store.Client(source) as ours,
        QdrantClient(path=source) as qdrant,
        retrieval_store.Client(**{"url" if on_cluster else "path": target}) as theirs,
    ):
        if beside:
            hooks.program, hooks.share = kind(rng, ours, qdrant), rng.choice([0.005, 0.02, 0.1])
        hooks.inside = False
        ours.copy_to(theirs)


def in_child(function, *arguments):
    """The outcome of a function in a child of this process: "done", "killed", or its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        message = b"done"
        begin_child()
        try:
            function(*arguments)
        except NotFoundError as error:
            message = b"again" if b"while it was" in str(error).encode() else _told()
        except BaseException:
            message = _told()
        with suppress(OSError):
            os.write(writing, message)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as reported:
        message = reported.read()
    os.waitpid(child, 0)
    return message.decode() or "killed"


def _told():
    return traceback.format_exc().encode()


def read_everything(path):
    """All that a user can ask of a store."""
    with retrieval_store.Client(path, read_only=True) as client:
        store = inside.store(client)
        names = {record.id: record.name for record in store.page(None, 0)}
        answers = {"aliases": store.aliases(), "names": sorted(names.values())}
        for one, name in names.items():
            record = store.record(one)
            answers[name] = record.settings, *_points_told(store.points(one))
            if not record.is_qdrant_only:
                answers[name] += _asked(client.get_collection(name, embedding_function=None))
    with QdrantClient(path=path) as qdrant:
        for name in (*answers["names"], *answers["aliases"]):
            info = qdrant.get_collection(name)
            schema = {k: (v.data_type, v.params) for k, v in info.payload_schema.items()}
            answers[f"qdrant {name}"] = info.config, schema, info.points_count
    return answers


def told_of(client):
    """The same, as far as a cluster reports it."""
    answers = {}
    for one in client.list_collections():
        things = client.get_collection(one.name, embedding_function=None)
        held = things.get(include=["documents", "metadatas", "sparse_embeddings"])
        vectors = things.get(include=["embeddings"])["embeddings"]
        rounded = None if vectors is None else np.round(vectors, 4).tolist()
        answers[one.name] = _asked(things), held, rounded
    return answers


def _points_told(held):
    spaces = {one.name: one for one in held.spaces()}
    everything = held.get(None, None, None, 0, pages.everything([*spaces]))
    vectors = (
        {name: [_plain(one) for one in column] for name, column in everything.vectors.items()}
        if everything.vectors
        else {}
    )
    rest = everything.ids, everything.payloads, everything.documents, everything.uris
    return spaces, held.count(), rest, vectors


def _plain(vector):
    if vector is None or isinstance(vector, np.ndarray):
        return None if vector is None or np.isnan(vector).all() else vector.tolist()
    return vector.indices.tolist(), vector.values.tolist()


def _asked(things):
    """Results with many points at equal distances."""
    if not things.count():
        return (things.metadata, things.configuration)
    found = [things.metadata, things.configuration]
    stats = things.get(limit=1, include=["embeddings"])["embeddings"]
    if stats is not None and len(stats) and len(stats[0]) == 2:
        found.append(things.query(query_embeddings=[[0.0, 0.0]], n_results=20)["ids"])
    found.append(things.query(query_texts="text 1", mode="text", n_results=20)["ids"])
    return tuple(found)
