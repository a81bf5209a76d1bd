"""Reads and writes of a collection through QdrantClient."""

from contextlib import closing
from typing import Any

from qdrant_client import models

from tests.rehearsal.places import POINTS
from tests.rehearsal.points_asked import (
    LONG,
    SPLIT,
    UNSPLIT,
    Asked,
    asked_of,
    equals,
    moment,
    must,
    must_not,
    third,
    within,
)
from tests.rehearsal.points_truth import (
    NAME,
    Id,
    Kept,
    Points,
    check_collection,
    check_whole,
    compare_ids,
    fill,
    make_collection,
    pages,
    points_of,
    put_back,
    structs,
    words_in,
)
from tests.rehearsal.scenario import Scenario, compare
from tests.rehearsal.steps import step

SCHEMA = models.PayloadSchemaType
ON_FILES = POINTS - {"memory"}


@step(places=POINTS)
def points_in_bulk(scenario: Scenario) -> None:
    """Points written by every method; each is read whole, and pages are complete."""
    kept = points_of(scenario)
    found = []
    for page in pages(kept.client, 1000, with_vectors=True):
        check_whole(kept.truth, page)
        found += [record.id for record in page]
    compare_ids(found, kept.truth.ids, "points")
    info = kept.client.get_collection(NAME)
    assert info.points_count == len(kept.truth) == kept.client.count(NAME).count
    assert info.status == models.CollectionStatus.GREEN


@step(places=POINTS)
def retrieves(scenario: Scenario) -> None:
    """Reads by ids in any order, with parts of payloads and vectors."""
    kept = points_of(scenario)
    ids = kept.truth.ids
    drawn = [ids[i] for i in scenario.random.permutation(len(ids))[:3000]]
    got = kept.client.retrieve(NAME, [*drawn, 2**50], with_payload=["n", "at.lat"])
    compare_ids([one.id for one in got], drawn, "points that were asked for", ordered=False)
    for one in got:
        own = kept.truth.points[one.id].payload
        assert one.payload == {"n": own["n"], "at": {"lat": own["at"]["lat"]}}
        assert not one.vector
    without = models.PayloadSelectorExclude(exclude=["parts", "at.lon"])
    for one in kept.client.retrieve(
        NAME, drawn[:500], with_payload=without, with_vectors=["words"]
    ):
        point = kept.truth.points[one.id]
        right = {key: value for key, value in point.payload.items() if key != "parts"}
        assert one.payload == {**right, "at": {"lat": right["at"]["lat"]}}
        assert list(one.vector) == ["words"]
        assert words_in(one.vector) == point.words


def check_filters(kept: Kept, asked: Asked) -> None:
    """Check ids by pages, and counts."""
    for name, (given, holds) in asked.items():
        right = kept.truth.matching(holds)
        got = [
            record.id
            for page in pages(
                kept.client, 4000, scroll_filter=given, with_payload=False, with_vectors=False
            )
            for record in page
        ]
        compare_ids(got, right, f"{name}: {given}")
        assert kept.client.count(NAME, given).count == len(right), name


@step(places=POINTS)
def every_condition(scenario: Scenario) -> None:
    kept = points_of(scenario)
    check_filters(kept, {**asked_of(scenario.shape.kinds, kept.truth), **UNSPLIT})


INDEXES: dict[str, Any] = {
    "n": SCHEMA.INTEGER,
    "bucket": models.IntegerIndexParams(type="integer", lookup=True, range=True),
    "flag": SCHEMA.BOOL,
    "uid": SCHEMA.UUID,
    "at": SCHEMA.GEO,
    "when": SCHEMA.DATETIME,
    "weight": SCHEMA.FLOAT,
    "label": models.TextIndexParams(type="text", tokenizer="word", phrase_matching=True),
    "parts[].page": SCHEMA.INTEGER,
}
KEYED_INDEXES: dict[str, Any] = {
    "topic": SCHEMA.KEYWORD,
    "tags": models.KeywordIndexParams(type="keyword"),
    "year": SCHEMA.INTEGER,
    "price": SCHEMA.FLOAT,
    "day": SCHEMA.DATETIME,
}


def indexes_of(scenario: Scenario) -> dict[str, Any]:
    made = {**INDEXES, **(KEYED_INDEXES if "keys" in scenario.shape.kinds else {})}
    return {**made, "text": SCHEMA.TEXT} if "texts" in scenario.shape.kinds else made


def indexed(scenario: Scenario) -> Kept:
    """The points, with an index of every kind."""
    kept = points_of(scenario)
    with scenario.no_clock():
        there = kept.client.get_collection(NAME).payload_schema
        for key, schema in indexes_of(scenario).items():
            if key not in there:
                kept.client.create_payload_index(NAME, key, schema)
        look_everywhere(scenario, kept)
    return kept


def look_everywhere(scenario: Scenario, kept: Kept) -> None:
    """Query each process of the server, which takes several connections. The first filter on a key,
    and the first use of an index, read data of all points."""
    queries = [given for given, _ in asked_of(scenario.shape.kinds, kept.truth).values()]
    if "texts" in scenario.shape.kinds:
        queries.append(LONG["a rare word"][0])
    look(kept.client, queries)
    for _ in range(10 if scenario.place.name == "served" else 0):
        with closing(scenario.place.qdrant()) as other:
            look(other, queries)


def look(client: Any, asked: list[models.Filter]) -> None:
    client.get_collection(NAME)
    for given in asked:
        client.count(NAME, given)


@step(places=POINTS)
def every_condition_with_indexes(scenario: Scenario) -> None:
    kept = indexed(scenario)
    query = {**asked_of(scenario.shape.kinds, kept.truth), **SPLIT}
    check_filters(kept, {**query, **(LONG if "texts" in scenario.shape.kinds else {})})


@step(places=POINTS)
def indexes_count_their_points(scenario: Scenario) -> None:
    kept = indexed(scenario)
    schema = kept.client.get_collection(NAME).payload_schema
    assert set(schema) == set(indexes_of(scenario))
    for key in {"n", "at", "label", "topic", "day"} & set(schema):
        assert schema[key].points == len(kept.truth), key
    with_parts = sum(1 for one in kept.truth.points.values() if one.payload["parts"])
    assert schema["parts[].page"].points == with_parts
    kept.client.delete_payload_index(NAME, "bucket")
    assert "bucket" not in kept.client.get_collection(NAME).payload_schema
    indexed(scenario)


@step(places=POINTS)
def facets_of_points(scenario: Scenario) -> None:
    """Every value with its count, over all points and with a filter."""
    kept = indexed(scenario)
    given, holds = third(len(kept.original), 2)
    some = set(kept.truth.matching(holds))
    keyed = ["topic", "tags", "year"] if "keys" in scenario.shape.kinds else []
    for key in ["bucket", "flag", "uid", *keyed]:
        for ids, named in ((set(kept.truth.ids), {}), (some, {"facet_filter": given})):
            right = counted(kept.truth, key, ids)
            got = kept.client.facet(NAME, key, limit=10_000, exact=True, **named).hits
            assert {hit.value: hit.count for hit in got} == right, key
            first = kept.client.facet(NAME, key, limit=5, exact=True, **named).hits
            assert [hit.count for hit in first] == sorted(right.values(), reverse=True)[:5]


def counted(truth: Points, key: str, ids: set[Id]) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for one in ids:
        value = truth.points[one].payload.get(key, [])
        for item in set(value) if isinstance(value, list) else {value}:
            counts[item] = counts.get(item, 0) + 1
    return counts


@step(places=POINTS)
def scrolls_in_order(scenario: Scenario) -> None:
    """Each point once, in pages that continue after the last one, without points seen there."""
    kept = indexed(scenario)
    keys = ["weight", "bucket", "when"] + (["day"] if "keys" in scenario.shape.kinds else [])
    for key in keys:
        for direction in models.Direction:
            check_order(kept, key, direction, None, max(700, len(kept.truth) // 6))
    given, holds = third(len(kept.original), 0)
    right = set(kept.truth.matching(holds))
    check_order(kept, "weight", models.Direction.DESC, (given, right), 450)


def check_order(
    kept: Kept,
    key: str,
    direction: models.Direction,
    among: tuple[models.Filter, set[Id]] | None,
    size: int,
) -> None:
    values = {one: comparable(key, point.payload) for one, point in kept.truth.points.items()}
    if among is not None:
        values = {one: value for one, value in values.items() if one in among[1]}
    got: list[Id] = []
    start: Any = None
    while len(got) < len(values):
        last = [one for one in got if values[one] == values[got[-1]]]
        conditions = [] if among is None else [among[0]]
        page, _ = kept.client.scroll(
            NAME,
            scroll_filter=models.Filter(
                must=conditions, must_not=[models.HasIdCondition(has_id=last)] if last else []
            ),
            order_by=models.OrderBy(key=key, direction=direction, start_from=start),
            limit=size,
            with_payload=[key],
        )
        assert page, f"{len(got)} of {len(values)} by {key}"
        got += [record.id for record in page]
        start = page[-1].payload[key]
    compare_ids(got, list(values), f"by {key}", ordered=False)
    reports = [values[one] for one in got]
    assert reports == sorted(reports, reverse=direction == models.Direction.DESC), (key, direction)


def comparable(key: str, payload: dict[str, Any]) -> Any:
    return moment(payload[key]) if key in ("when", "day") else payload[key]


@step(places=POINTS)
def settings_change(scenario: Scenario) -> None:
    kept = points_of(scenario)
    kept.client.update_collection(
        NAME,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1000),
        hnsw_config=models.HnswConfigDiff(m=24),
        vectors_config={"dense": models.VectorParamsDiff(on_disk=True)},
        metadata={"made": "by a rehearsal"},
    )
    info = kept.client.get_collection(NAME)
    assert info.config.optimizer_config.indexing_threshold == 1000
    assert info.config.metadata == {"made": "by a rehearsal"}
    assert info.points_count == len(kept.truth)
    check_collection(scenario, kept.client, kept.truth)


@step(places=POINTS)
def aliases(scenario: Scenario) -> None:
    """Many names of one collection, then moved to another."""
    kept = points_of(scenario)
    names = [f"alias {i}" for i in range(100)]
    made = [models.CreateAlias(collection_name=NAME, alias_name=name) for name in names]
    kept.client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=one) for one in made]
    )
    own = kept.client.get_collection_aliases(NAME).aliases
    compare(sorted(one.alias_name for one in own), sorted(names), "aliases")
    assert all(kept.client.count(name).count == len(kept.truth) for name in names[::9])
    make_collection(scenario, kept.client, "other points")
    renamed = models.RenameAlias(old_alias_name="alias 0", new_alias_name="alias zero")
    moved = models.CreateAlias(collection_name="other points", alias_name="alias 1")
    kept.client.update_collection_aliases(
        [
            models.RenameAliasOperation(rename_alias=renamed),
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="alias 1")),
            models.CreateAliasOperation(create_alias=moved),
        ]
    )
    assert kept.client.count("alias zero").count == len(kept.truth)
    assert kept.client.count("alias 1").count == 0
    kept.client.delete_collection("other points")
    gone = [models.DeleteAlias(alias_name=name) for name in (*names[2:], "alias zero")]
    kept.client.update_collection_aliases(
        [models.DeleteAliasOperation(delete_alias=one) for one in gone]
    )
    assert not kept.client.get_aliases().aliases


@step(places=POINTS)
def payloads_change(scenario: Scenario) -> None:
    """By ids and by filter: set, set at a path, replaced, keys deleted, cleared."""
    kept = points_of(scenario)
    client, truth = kept.client, kept.truth
    given, holds = third(len(kept.original), 0)
    first, some = truth.matching(holds), truth.ids[1::3]
    client.set_payload(NAME, {"state": "first", "maybe": 1}, points=given)
    client.set_payload(NAME, {"state": "some", "more": [1, {"a": None}]}, points=some)
    client.set_payload(NAME, {"high": 3.5}, points=some, key="at")
    for one in first:
        truth.points[one].payload.update(state="first", maybe=1)
    for one in some:
        payload = truth.points[one].payload
        payload.update(state="some", more=[1, {"a": None}])
        payload["at"]["high"] = 3.5
    assert client.count(NAME, must(equals("state", "some"))).count == len(some)
    check_collection(scenario, client, truth)

    given, holds = third(len(kept.original), 1)
    second, few = truth.matching(holds), truth.ids[::10]
    client.overwrite_payload(NAME, {"n": 7, "new": True}, points=few)
    for one in few:
        truth.points[one].payload = {"n": 7, "new": True}
    second = truth.matching(holds)
    client.delete_payload(NAME, ["label", "at.lat", "no_such"], points=given)
    for one in second:
        payload = truth.points[one].payload
        payload.pop("label", None)
        payload.get("at", {}).pop("lat", None)
    client.clear_payload(NAME, few[::2])
    for one in few[::2]:
        truth.points[one].payload = {}
    check_collection(scenario, client, truth)
    given, holds = third(len(kept.original), 2)
    last = truth.matching(holds)
    client.clear_payload(NAME, given)
    client.overwrite_payload(NAME, {"n": -1}, points=must(equals("new", True)))
    for one in last:
        truth.points[one].payload = {}
    for one in truth.ids:
        if "new" in truth.points[one].payload:
            truth.points[one].payload = {"n": -1}
    check_collection(scenario, client, truth)
    empty = truth.matching(lambda one, own: not own)
    got = must(models.IsEmptyCondition(is_empty=models.PayloadField(key="n")))
    assert client.count(NAME, got).count == len(empty)
    put_back(kept, truth.ids)
    check_collection(scenario, client, truth)


@step(places=POINTS)
def vectors_change(scenario: Scenario) -> None:
    """New vectors for a third, none for some; the others don't change."""
    kept = points_of(scenario)
    client, truth = kept.client, kept.truth
    changed = truth.ids[::3]
    fresh = scenario.more(len(changed)).vectors
    for first in range(0, len(changed), 1000):
        part = changed[first : first + 1000]
        rows = zip(part, fresh[first : first + 1000].tolist(), strict=True)
        client.update_vectors(
            NAME, [models.PointVectors(id=one, vector={"dense": row}) for one, row in rows]
        )
    for one, row in zip(changed, fresh, strict=True):
        truth.points[one].dense = row
    given, holds = third(len(kept.original), 1)
    wordless, bare = truth.matching(holds), truth.ids[5::50]
    client.delete_vectors(NAME, ["words"], given)
    client.delete_vectors(NAME, ["dense", "pieces"], bare)
    for one in wordless:
        truth.points[one].words = None
    for one in bare:
        truth.points[one].dense = truth.points[one].pieces = None
    truth.changed()
    check_collection(scenario, client, truth)
    for name in ("dense", "words", "pieces"):
        having = must(models.HasVectorCondition(has_vector=name))
        assert client.count(NAME, having).count == len(truth.rows(name)[0]), name
    put_back(kept, [*changed, *wordless, *bare])
    check_collection(scenario, client, truth)


@step(places=POINTS)
def points_go_and_come(scenario: Scenario) -> None:
    """Points are deleted by ids and by filter, and written again."""
    kept = points_of(scenario)
    client, truth = kept.client, kept.truth
    given, holds = third(len(kept.original), 1)
    gone = set(truth.matching(holds)) | set(truth.ids[::7])
    client.delete(NAME, truth.ids[::7])
    client.delete(NAME, given)
    for one in gone:
        del truth.points[one]
    truth.changed()
    check_collection(scenario, client, truth)
    assert not client.retrieve(NAME, list(gone)[:1000])
    put_back(kept, gone)
    check_collection(scenario, client, truth)


@step(places=POINTS)
def operations_in_one_batch(scenario: Scenario) -> None:
    """All operations, in order; a refused batch writes nothing."""
    kept = points_of(scenario)
    client, truth = kept.client, kept.truth
    some = truth.ids[2::5]
    copies = {2**60 + i: kept.original[one].copy() for i, one in enumerate(some[:500])}
    named = {"points": some}
    operations = [
        models.UpsertOperation(upsert=models.PointsList(points=structs(copies))),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"bucket": 99}, **named)),
        models.DeletePayloadOperation(
            delete_payload=models.DeletePayload(keys=["weight"], filter=must(equals("bucket", 99)))
        ),
        models.DeleteVectorsOperation(
            delete_vectors=models.DeleteVectors(vector=["pieces"], points=list(copies)[:100])
        ),
        models.DeleteOperation(delete=models.PointIdsList(points=some[-200:])),
        models.ClearPayloadOperation(
            clear_payload=models.FilterSelector(filter=must(within("n", gte=0, lt=100)))
        ),
    ]
    client.batch_update_points(NAME, operations)
    truth.points.update(copies)
    for one in some:
        truth.points[one].payload["bucket"] = 99
        truth.points[one].payload.pop("weight")
    for one in list(copies)[:100]:
        truth.points[one].pieces = None
    for one in some[-200:]:
        del truth.points[one]
    truth.changed()
    cleared = truth.matching(lambda one, own: own["n"] < 100)
    for one in cleared:
        truth.points[one].payload = {}
    check_collection(scenario, client, truth)
    wrong = models.UpsertOperation(
        upsert=models.PointsList(points=[models.PointStruct(id=1, vector={"dense": [1.0]})])
    )
    try:
        client.batch_update_points(NAME, [*operations, wrong])
    except Exception as error:
        assert "dimension" in str(error), error
    else:
        raise AssertionError("a vector of one number was taken")
    check_collection(scenario, client, truth)
    client.delete(NAME, list(copies))
    for one in copies:
        del truth.points[one]
    put_back(kept, {*some, *(one for one in cleared if one in kept.original)})
    check_collection(scenario, client, truth)


@step(places=POINTS)
def spaces_come_and_go(scenario: Scenario) -> None:
    """A new vector name, which some points use, is added and dropped again."""
    kept = points_of(scenario)
    dense = models.DenseVectorConfig(size=8, distance=models.Distance.DOT)
    kept.client.create_vector_name(NAME, "extra", models.DenseVectorNameConfig(dense=dense))
    ids = kept.truth.ids[::4]
    rows = scenario.random.standard_normal((len(ids), 8)).round(3)
    kept.client.update_vectors(
        NAME,
        [
            models.PointVectors(id=one, vector={"extra": row})
            for one, row in zip(ids, rows.tolist(), strict=True)
        ],
    )
    having = must(models.HasVectorCondition(has_vector="extra"))
    assert kept.client.count(NAME, having).count == len(ids)
    query = scenario.random.standard_normal(8)
    got = kept.client.query_points(NAME, query.tolist(), using="extra", limit=20).points
    right = sorted((rows @ query).tolist(), reverse=True)[:20]
    assert all(abs(hit.score - own) < 1e-4 for hit, own in zip(got, right, strict=True))
    kept.client.delete_vector_name(NAME, "extra")
    check_collection(scenario, kept.client, kept.truth)


def location_of(scenario: Scenario, snapshot: models.SnapshotDescription, name: str) -> str:
    """The location from which a snapshot is recovered: a path, or its name on a server."""
    if scenario.place.path is None:
        return snapshot.name
    return str(scenario.place.path / "snapshots" / f"collection-{name}" / snapshot.name)


@step(places=ON_FILES)
def snapshots_of_points(scenario: Scenario) -> None:
    """Recovering a snapshot undoes later writes; recovered as another collection, it is the
    same."""
    kept = indexed(scenario)
    client, truth = kept.client, kept.truth
    schema = client.get_collection(NAME).payload_schema
    taken = client.create_snapshot(NAME)
    assert [one.name for one in client.list_snapshots(NAME)] == [taken.name]
    client.delete(NAME, third(len(kept.original), 0)[0])
    client.set_payload(NAME, {"since": 1}, points=must_not(within("n", lt=-5)))
    assert client.recover_snapshot(
        NAME, location_of(scenario, taken, NAME), checksum=taken.checksum
    )
    check_collection(scenario, client, truth)
    with scenario.no_clock():  # the first look again
        assert client.get_collection(NAME).payload_schema == schema
    assert client.count(NAME, must(equals("since", 1))).count == 0
    if scenario.place.path is not None:
        client.recover_snapshot("points again", location_of(scenario, taken, NAME))
        check_collection(scenario, client, truth, "points again")
        client.delete_collection("points again")
    assert client.delete_snapshot(NAME, taken.name)
    assert not client.list_snapshots(NAME)


@step(places=ON_FILES)
def snapshots_of_a_shard(scenario: Scenario) -> None:
    """The only shard is the collection."""
    kept = points_of(scenario)
    client = kept.client
    taken = client.create_shard_snapshot(NAME, 0)
    assert [one.name for one in client.list_shard_snapshots(NAME, 0)] == [taken.name]
    client.delete(NAME, third(len(kept.original), 1)[0])
    assert client.recover_shard_snapshot(NAME, 0, location_of(scenario, taken, NAME))
    check_collection(scenario, client, kept.truth)
    assert client.delete_shard_snapshot(NAME, 0, taken.name)
    assert not client.list_shard_snapshots(NAME, 0)


@step(places=frozenset({"disk"}), least="first")
def snapshots_of_everything(scenario: Scenario) -> None:
    import retrieval_store
    from retrieval_store.qdrant import QdrantClient

    kept = points_of(scenario)
    taken = kept.client.create_full_snapshot()
    assert [one.name for one in kept.client.list_full_snapshots()] == [taken.name]
    path = scenario.new_path("restored")
    retrieval_store.restore(scenario.place.path / "snapshots" / "full" / taken.name, path)
    with QdrantClient(path=str(path)) as restored:
        check_collection(scenario, restored, kept.truth)
    with retrieval_store.Client(path) as restored:
        scenario.check(restored.get_collection("scenario", embedding_function=None))
    kept.client.delete_full_snapshot(taken.name)
    assert not kept.client.list_full_snapshots()


@step(places=POINTS)
def migrates(scenario: Scenario) -> None:
    """Points, vectors and indexes are copied to another store, and a part of them back."""
    from retrieval_store.qdrant import QdrantClient

    kept = points_of(scenario)
    with QdrantClient(":memory:") as other:
        make_collection(scenario, other, "part")
        part = {one: kept.original[one] for one in kept.truth.ids[:500]}
        fill(other, part, "part")
        other.migrate(kept.client.plain, ["part"], batch_size=200)
        check_collection(scenario, kept.client, Points(kept.truth.metric, part), "part")
        kept.client.delete_collection("part")
        kept.client.migrate(other, [NAME], batch_size=1000)
        check_collection(scenario, other, kept.truth)
