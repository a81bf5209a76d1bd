"""Collections: their configuration and its changes, aliases, strict mode, and payload indexes."""

import threading

import pytest

import retrieval_store
from retrieval_store.qdrant import QdrantClient, Refused, models
from tests.helpers import inside
from tests.helpers.tuned import tuned

DOT, COSINE = models.Distance.DOT, models.Distance.COSINE
PARAMS = models.VectorParams(size=2, distance=DOT)
AUTOMATIC = models.OptimizersConfigDiff(
    max_optimization_threads=models.MaxOptimizationThreadsSetting.AUTO
)


@pytest.fixture
def qdrant(embedded):
    return embedded


@pytest.fixture
def things(qdrant):
    """A collection of one kind of vectors, without points."""
    qdrant.create_collection("things", PARAMS)
    return qdrant


def point(point_id, payload=None, vector=None):
    return models.PointStruct(id=point_id, vector=vector or {}, payload=payload)


def names(client):
    return {one.name for one in client.get_collections().collections}


def aliases(client):
    return {one.alias_name: one.collection_name for one in client.get_aliases().aliases}


def plain(model):
    return model.model_dump(mode="json", exclude_none=True)


def alias(name, collection):
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=collection, alias_name=name)
    )


def no_alias(name):
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))


def renamed(old, new):
    return models.RenameAliasOperation(
        rename_alias=models.RenameAlias(old_alias_name=old, new_alias_name=new)
    )


# Configuration

VECTORS = {
    "": models.VectorParams(size=3, distance=COSINE),
    "half": models.VectorParams(
        size=4,
        distance=models.Distance.EUCLID,
        datatype=models.Datatype.FLOAT16,
        on_disk=True,
        hnsw_config=models.HnswConfigDiff(m=24, ef_construct=50),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.9)
        ),
    ),
    "bytes": models.VectorParams(
        size=5, distance=models.Distance.MANHATTAN, datatype=models.Datatype.UINT8
    ),
    "many": models.VectorParams(
        size=2, distance=DOT, multivector_config=models.MultiVectorConfig(comparator="max_sim")
    ),
}
SPARSE = {
    "plain": models.SparseVectorParams(),
    "idf": models.SparseVectorParams(
        index=models.SparseIndexParams(on_disk=True, full_scan_threshold=7),
        modifier=models.Modifier.IDF,
    ),
}
SETTINGS = {
    "shard_number": 3,
    "replication_factor": 2,
    "write_consistency_factor": 2,
    "on_disk_payload": False,
    "hnsw_config": models.HnswConfigDiff(m=8, ef_construct=77, payload_m=4),
    "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=5, max_segment_size=9),
    "wal_config": models.WalConfigDiff(wal_capacity_mb=4),
    "quantization_config": models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(always_ram=True)
    ),
    "strict_mode_config": models.StrictModeConfig(enabled=True, max_query_limit=9),
}
IN_PARAMS = ("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload")
REPORTED_AS = {"optimizers_config": "optimizer_config"}


def test_a_collection_reports_its_configuration(tmp_path):
    with QdrantClient(path=tmp_path) as client:
        client.create_collection(
            "things", VECTORS, SPARSE, metadata={"by": "us", "deep": [1, None]}, **SETTINGS
        )
        first = client.get_collection("things")
    with QdrantClient(path=tmp_path) as client:
        assert client.get_collection("things") == first
    config = first.config
    assert {name: plain(one) for name, one in config.params.vectors.items()} == {
        name: plain(one) for name, one in VECTORS.items()
    }
    assert {name: plain(one) for name, one in config.params.sparse_vectors.items()} == {
        name: plain(one) for name, one in SPARSE.items()
    }
    assert config.metadata == {"by": "us", "deep": [1, None]}
    for name, given in SETTINGS.items():
        if name in IN_PARAMS:
            assert getattr(config.params, name) == given
        else:
            reported = plain(getattr(config, REPORTED_AS.get(name, name)))
            assert plain(given).items() <= reported.items()
    assert (first.status, first.points_count, first.payload_schema) == ("green", 0, {})


def test_the_number_of_cached_configurations_is_bounded(qdrant, monkeypatch):
    tuned(monkeypatch, configurations_kept=2)
    for i in range(4):
        qdrant.create_collection(f"things {i}", PARAMS)
        assert qdrant.get_collection(f"things {i}").config.params.vectors == PARAMS
        assert 0 < len(inside.configurations(qdrant)) <= 2


def test_one_unnamed_kind_of_vectors_is_reported_as_such(things):
    assert things.get_collection("things").config.params.vectors == PARAMS
    things.create_collection("bare")
    assert things.get_collection("bare").config.params.vectors in (None, {})
    things.upsert("bare", [point(1, {"n": 1})])
    assert things.get_collection("bare").points_count == 1


@pytest.mark.parametrize(
    "vectors, sparse",
    [
        ({"a": PARAMS}, {"a": models.SparseVectorParams()}),
        ({"a" * 256: PARAMS}, None),
        ({"a": models.VectorParams(size=70_000, distance=DOT)}, None),
        ({"a/b": PARAMS}, None),
        (None, {"": models.SparseVectorParams()}),
    ],
)
def test_configurations_that_cannot_be_are_refused_and_leave_no_collection(qdrant, vectors, sparse):
    with pytest.raises(Refused):
        qdrant.create_collection("things", vectors, sparse)
    assert names(qdrant) == set()


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "x" * 256, "a\0", 'a"'])
def test_names_that_no_collection_can_have_are_refused(qdrant, name):
    with pytest.raises(Refused):
        qdrant.create_collection(name, PARAMS)
    with pytest.raises(Refused):
        qdrant.update_collection_aliases([alias(name, "things")])
    assert names(qdrant) == set()


@pytest.mark.parametrize(
    "name", ["x" * 255, "ß \U0001f600", ".", "..", "a b", " ", "CON", "-", "ab"]
)
def test_any_other_name_is_one(qdrant, name):
    qdrant.create_collection(name, PARAMS)
    qdrant.upsert(name, [point(1, None, [1, 2])])
    assert names(qdrant) == {name} and qdrant.count(name).count == 1
    with pytest.raises(Refused) as caught:
        qdrant.create_collection(name, PARAMS)
    assert caught.value.status_code == 409
    assert qdrant.delete_collection(name) is True
    assert qdrant.delete_collection(name) is False and names(qdrant) == set()
    qdrant.create_collection("things", {name: PARAMS})
    qdrant.upsert("things", [point(1, None, {name: [1, 2]})])
    assert list(qdrant.retrieve("things", [1], with_vectors=True)[0].vector) == [name]


def test_an_error_names_the_missing_collection(qdrant):
    assert not qdrant.collection_exists("none")
    for call in (
        lambda: qdrant.get_collection("none"),
        lambda: qdrant.upsert("none", [point(1)]),
        lambda: qdrant.count("none"),
        lambda: qdrant.update_collection("none", metadata={}),
        lambda: qdrant.create_payload_index("none", "a", "keyword"),
        lambda: qdrant.get_collection_aliases("none"),
    ):
        with pytest.raises(Refused, match="none") as caught:
            call()
        assert caught.value.status_code == 404


@pytest.mark.filterwarnings("ignore:.*recreate_collection")
def test_recreating_leaves_nothing_of_the_old_collection(things):
    things.upsert("things", [point(1, {"n": 1}, [1, 2])])
    things.create_payload_index("things", "n", "integer")
    things.recreate_collection("things", models.VectorParams(size=3, distance=COSINE))
    info = things.get_collection("things")
    assert (info.points_count, info.payload_schema) == (0, {})
    things.upsert("things", [point(1, None, [3, 0, 4])])
    (one,) = things.retrieve("things", [1], with_vectors=True)
    assert one.vector == pytest.approx([0.6, 0, 0.8])
    things.recreate_collection("new", PARAMS)
    assert names(things) == {"things", "new"}


@pytest.mark.filterwarnings("ignore:.*recreate_collection")
def test_recreating_under_a_name_that_is_refused_deletes_nothing(tmp_path):
    name = "x" * 300
    with retrieval_store.Client(tmp_path) as ours, QdrantClient(path=tmp_path) as qdrant:
        notes = ours.create_collection(name, embedding_function=None)
        notes.add(["1"], embeddings=[[1.0, 2.0]])
        with pytest.raises(Refused, match="collection_name"):
            qdrant.recreate_collection(name, PARAMS)
        assert notes.count() == 1


# What is changed


def test_settings_are_updated_one_by_one(things):
    things.update_collection(
        "things",
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=5),
        hnsw_config=models.HnswConfigDiff(ef_construct=300),
        collection_params=models.CollectionParamsDiff(on_disk_payload=False),
        vectors_config={"": models.VectorParamsDiff(on_disk=True)},
    )
    things.update_collection(
        "things",
        hnsw_config=models.HnswConfigDiff(m=5),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8)
        ),
    )
    config = things.get_collection("things").config
    assert config.optimizer_config.indexing_threshold == 5
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (5, 300)
    assert config.params.on_disk_payload is False
    assert config.params.vectors == PARAMS.model_copy(update={"on_disk": True})
    assert config.quantization_config.scalar.type == models.ScalarType.INT8
    things.update_collection("things", quantization_config=models.Disabled.DISABLED)
    assert things.get_collection("things").config.quantization_config is None
    with pytest.raises(Refused, match="vector name"):
        things.update_collection("things", vectors_config={"z": models.VectorParamsDiff()})


def test_unsupported_inline_storage_of_a_server_is_warned_of(qdrant):
    inline = {"size": 2, "distance": "Dot", "hnsw_config": {"inline_storage": True}}
    others = {
        "plain": inline,
        "coded": {**inline, "quantization_config": {"scalar": {"type": "int8"}}},
        "many": {**inline, "multivector_config": {"comparator": "max_sim"}},
    }
    vectors = {name: models.VectorParams(**params) for name, params in others.items()}
    qdrant.create_collection("inline", vectors)
    reports = [warning.message for warning in qdrant.get_collection("inline").warnings]
    assert [message.partition(" have ")[0] for message in reports] == [
        "vectors 'plain'",
        "vectors 'many'",
    ]
    quantization = models.ScalarQuantization(scalar={"type": "int8"})
    qdrant.update_collection("inline", quantization_config=quantization)
    (warning,) = qdrant.get_collection("inline").warnings
    assert "multivectors" in warning.message


@pytest.mark.parametrize("first", ["idf", "none"])
def test_a_modifier_that_is_changed_counts_from_then_on(qdrant, first):
    def ranked_by(modifier):
        params = {"words": models.SparseVectorParams(modifier=modifier)}
        qdrant.update_collection("words", sparse_vectors_config=params)
        query = models.SparseVector(indices=[1, 2], values=[1.0, 1.0])
        found = qdrant.query_points("words", query, using="words", limit=1).points
        return found[0].id

    sparse = {"words": models.SparseVectorParams(modifier=first)}
    qdrant.create_collection("words", {}, sparse_vectors_config=sparse)
    held = {9: ([2], [1.0]), **{i: ([1], [2.0]) for i in range(5)}}  # 2 is rare
    qdrant.upsert(
        "words",
        [
            point(i, vector={"words": models.SparseVector(indices=at, values=values)})
            for i, (at, values) in held.items()
        ],
    )
    for _ in range(2):
        assert ranked_by("idf") == 9
        assert ranked_by("none") != 9


def test_vectors_beyond_the_threshold_for_indexing_count_as_indexed(things):
    things.upsert("things", [point(i, vector=[1.0, i]) for i in range(200)])  # of 1.6 kB
    for threshold, indexed in ((10_000, 0), (1, 200), (2, 0), (0, 0)):
        diff = models.OptimizersConfigDiff(indexing_threshold=threshold)
        things.update_collection("things", optimizers_config=diff)
        assert things.get_collection("things").indexed_vectors_count == indexed


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (
            {"hnsw_config": models.HnswConfigDiff(ef_construct=3)},
            "hnsw_config.ef_construct: value 3",
        ),
        ({"wal_config": models.WalConfigDiff(wal_capacity_mb=0)}, "wal_capacity_mb: value 0"),
        (
            {"optimizers_config": models.OptimizersConfigDiff(vacuum_min_vector_number=99)},
            "must be 100 or larger",
        ),
        (
            {"hnsw_config": models.HnswConfigDiff(full_scan_threshold=9)},
            "hnsw_config.full_scan_threshold: value 9 invalid, must be 10 or larger",
        ),
        (
            {"optimizers_config": models.OptimizersConfigDiff(deleted_threshold=1.5)},
            "deleted_threshold: value 1.5 invalid, must be from 0.0 to 1.0",
        ),
        (
            {"quantization_config": {"scalar": {"type": "int8", "quantile": 0.4}}},
            "quantization_config.scalar.quantile: value 0.4",
        ),
        (
            {"strict_mode_config": models.StrictModeConfig(max_query_limit=0)},
            "strict_mode_config.max_query_limit: value 0",
        ),
        (
            {"strict_mode_config": {"sparse_config": {"s": {"max_length": 0}}}},
            "strict_mode_config.sparse_config.s.max_length: value 0",
        ),
    ],
)
def test_settings_beyond_their_bounds_are_refused_whether_the_collection_exists_or_not(
    things, settings, refused
):
    for name in ("things", "new"):
        with pytest.raises(Refused, match=refused):
            things.create_collection(name, PARAMS, **settings)
    assert names(things) == {"things"}
    diff = models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(ef_construct=1))
    with pytest.raises(Refused, match="ef_construct: value 1"):
        things.update_collection("things", vectors_config={"": diff})


def test_automatic_threads_of_optimizers_are_reported_as_none(things):
    things.create_collection("new", PARAMS, optimizers_config=AUTOMATIC)
    things.update_collection("things", optimizers_config=AUTOMATIC)
    for name in ("new", "things"):
        optimizers = things.get_collection(name).config.optimizer_config
        assert optimizers.max_optimization_threads is None


def test_a_setting_may_have_the_value_of_a_bound_and_a_vector_the_name_of_a_setting(things):
    limits = {"sparse_config": {"max_length": {"max_length": 1}}, "max_query_limit": 1}
    things.create_collection(
        "new",
        PARAMS,
        sparse_vectors_config={"max_length": models.SparseVectorParams()},
        hnsw_config=models.HnswConfigDiff(full_scan_threshold=10, ef_construct=4),
        optimizers_config=models.OptimizersConfigDiff(deleted_threshold=1.0),
        strict_mode_config=limits,
    )
    assert things.get_collection("new").config.strict_mode_config.max_query_limit == 1


def test_metadata_equal_to_the_stored_one_is_shown_in_its_new_form(things):
    for value in (1, True, 1.0):
        things.update_collection("things", metadata={"v": value})
        shown = things.get_collection("things").config.metadata["v"]
        assert (shown, type(shown)) == (value, type(value))


def test_metadata_is_merged_and_null_takes_a_key_away(things):
    assert things.get_collection("things").config.metadata is None
    things.update_collection("things", metadata={"a": 1, "b": {"c": 2}})
    things.update_collection("things", metadata={"a": None, "b": {"d": 3}, "e": [4]})
    assert things.get_collection("things").config.metadata == {"b": {"d": 3}, "e": [4]}
    things.update_collection("things", hnsw_config=models.HnswConfigDiff(m=5))
    assert things.get_collection("things").config.metadata == {"b": {"d": 3}, "e": [4]}


def test_vector_names_are_added_and_dropped_and_come_back_empty(things):
    things.upsert("things", [point(1, {"n": 1}, [1, 1])])
    things.create_vector_name(
        "things",
        "extra",
        models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=3, distance=DOT)),
    )
    things.create_vector_name(
        "things",
        "words",
        models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier="idf")),
    )
    params = things.get_collection("things").config.params
    assert set(params.vectors) == {"", "extra"} and set(params.sparse_vectors) == {"words"}
    assert params.sparse_vectors["words"].modifier == models.Modifier.IDF
    words = models.SparseVector(indices=[1], values=[2.0])
    things.upsert("things", [point(2, None, {"extra": [1, 2, 3], "words": words, "": [2, 2]})])
    things.update_vectors("things", [models.PointVectors(id=1, vector={"extra": [3, 2, 1]})])
    found = things.query_points("things", [1.0, 0.0, 0.0], using="extra").points
    assert [(one.id, one.score) for one in found] == [(1, 3.0), (2, 1.0)]
    with pytest.raises(Refused):
        things.create_vector_name(
            "things",
            "extra",
            models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=9, distance=DOT)),
        )
    things.delete_vector_name("things", "extra")
    things.delete_vector_name("things", "words")
    assert things.get_collection("things").config.params.vectors == PARAMS
    with pytest.raises(Refused, match="vector name"):
        things.upsert("things", [point(3, None, {"extra": [1, 2, 3]})])
    things.create_vector_name(
        "things",
        "extra",
        models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=2, distance=COSINE)),
    )
    things.upsert("things", [point(3, None, {"extra": [3, 4]})])
    vectors = {one.id: one.vector for one in things.scroll("things", with_vectors=True)[0]}
    assert vectors[1] == [1.0, 1.0] and vectors[2] == [2.0, 2.0]
    assert vectors[3]["extra"] == pytest.approx([0.6, 0.8])
    assert [one.id for one in things.query_points("things", [1.0, 0], using="extra").points] == [3]


# Aliases


def test_aliases_are_names_of_collections(things):
    things.update_collection_aliases([alias("alias", "things"), alias("other", "things")])
    things.upsert("alias", [point(1, {"n": 1}, [1, 2])])
    assert things.count("things").count == 1
    assert things.get_collection("other").points_count == 1
    assert things.collection_exists("alias") and names(things) == {"things"}
    found = things.get_collection_aliases("things").aliases
    assert {one.alias_name for one in found} == {"alias", "other"} == set(aliases(things))
    with pytest.raises(Refused):
        things.create_collection("alias", PARAMS)
    things.update_collection_aliases([renamed("alias", "new"), no_alias("other")])
    assert aliases(things) == {"new": "things"}
    assert things.delete_collection("new") is False and names(things) == {"things"}
    things.delete_collection("things")
    assert aliases(things) == {} and not things.collection_exists("new")


@pytest.mark.parametrize(
    "refused",
    [
        alias("x", "none"),
        alias("second", "things"),
        renamed("none", "x"),
        renamed("alias", "second"),
        alias("a/b", "things"),
        "what",
    ],
)
def test_a_list_with_one_refused_change_changes_no_alias(things, refused):
    things.create_collection("second", PARAMS)
    things.update_collection_aliases([alias("alias", "things")])
    with pytest.raises(Refused):
        things.update_collection_aliases(
            [alias("first", "second"), no_alias("alias"), alias("alias", "second"), refused]
        )
    assert aliases(things) == {"alias": "things"}


def test_an_alias_is_switched_at_once_for_all_who_read(tmp_path):
    with QdrantClient(path=tmp_path) as client, QdrantClient(path=tmp_path) as reader:
        for i, name in enumerate(["one", "two"]):
            client.create_collection(name, PARAMS)
            client.upsert(name, [point(i, {"in": name})])
        client.update_collection_aliases([alias("live", "one")])
        seen, stop, wrong = set(), threading.Event(), []

        def read():
            while not stop.is_set():
                try:
                    (one,) = reader.scroll("live")[0]
                    seen.add(one.payload["in"])
                except Exception as error:
                    wrong.append(error)
                    return

        reading = threading.Thread(target=read)
        reading.start()
        for i in range(60):
            client.update_collection_aliases(
                [no_alias("live"), alias("live", ["two", "one"][i % 2])]
            )
        while not wrong and len(seen) < 2:
            client.update_collection_aliases([alias("live", "two" if "one" in seen else "one")])
        stop.set()
        reading.join()
    assert not wrong and seen == {"one", "two"}


# Payload indexes


def test_payload_indexes_are_reported_with_how_many_points_they_hold(things):
    for key, schema in {
        "n": models.PayloadSchemaType.INTEGER,
        "f": "float",
        "w": models.KeywordIndexParams(type="keyword", on_disk=True, is_tenant=True),
        "t": models.TextIndexParams(
            type="text", tokenizer=models.TokenizerType.WORD, min_token_len=2, lowercase=True
        ),
        "deep.list[].at": models.PayloadSchemaType.DATETIME,
        "g": models.PayloadSchemaType.GEO,
        "b": models.PayloadSchemaType.BOOL,
        "u": models.UuidIndexParams(type="uuid"),
    }.items():
        things.create_payload_index("things", key, schema)
    things.upsert(
        "things",
        [
            point(1, {"n": 1, "f": 1, "w": "x", "t": "some text", "b": True}),
            point(2, {"n": "1", "f": 2.5, "w": ["x", "y"], "t": 7, "g": {"lon": 1, "lat": 2}}),
            point(3, {"n": [1, 2], "deep": {"list": [{"at": "2024-01-01"}]}, "u": "nothing"}),
            point(4, {"n": 1.5, "deep": {"list": [{"at": "never"}]}, "g": {"lon": 1}, "b": None}),
        ],
    )
    schema = things.get_collection("things").payload_schema
    assert {key: one.points for key, one in schema.items()} == {
        "n": 2,
        "f": 2,
        "w": 2,
        "t": 1,
        "deep.list[].at": 1,
        "g": 1,
        "b": 1,
        "u": 0,
    }
    assert schema["n"].data_type == "integer" and schema["n"].params is None
    assert schema["w"].params.is_tenant is True and schema["w"].params.on_disk is True
    assert schema["t"].params.min_token_len == 2
    things.delete_payload_index("things", "n")
    things.clear_payload("things", [1, 2])
    schema = things.get_collection("things").payload_schema
    assert "n" not in schema and schema["w"].points == 0
    with pytest.raises(Refused):
        things.create_payload_index("things", "x", "nonsense")
    with pytest.raises(Refused):
        things.create_payload_index("things", "x[", "keyword")
    with pytest.raises(Refused, match="expected a PayloadSchemaType"):
        things.create_payload_index("things", "x")
    assert things.get_collection("things").payload_schema.keys() == schema.keys()


def test_an_index_decides_the_meaning_of_conditions_until_it_is_dropped(things):
    things.upsert("things", [point(1, {"n": 1}), point(2, {"n": 1.5}), point(3, {"n": "1"})])

    def found(condition):
        return [one.id for one in things.scroll("things", models.Filter(must=[condition]))[0]]

    one = models.FieldCondition(key="n", match=models.MatchValue(value=1))
    between = models.FieldCondition(key="n", range=models.Range(gte=1, lte=2))
    assert (found(one), found(between)) == ([1], [1, 2])
    things.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
    assert (found(one), found(between)) == ([1], [1])
    things.delete_payload_index("things", "n")
    assert (found(one), found(between)) == ([1], [1, 2])


# Strict mode


def filtered(**condition):
    return models.Filter(must=[models.FieldCondition(key="n", **condition)])


ONE = filtered(match=models.MatchValue(value=1))
THREE = models.Filter(
    should=[
        models.FieldCondition(key="i", match=models.MatchValue(value=1)),
        models.Filter(must=[*ONE.must, *ONE.must]),
    ]
)
QUERY = [1.0, 0.0]


def with_params(**params):
    return {"search_params": models.SearchParams(**params)}


@pytest.mark.parametrize(
    "limit, refused, allowed",
    [
        (
            {"max_query_limit": 5},
            lambda q: q.scroll("things", limit=6),
            lambda q: q.scroll("things", limit=5),
        ),
        (
            {"max_query_limit": 5},
            lambda q: q.query_points("things", QUERY, limit=6),
            lambda q: q.query_points("things", QUERY, limit=5),
        ),
        (
            {"max_query_limit": 5},
            lambda q: q.query_batch_points(
                "things", [models.QueryRequest(query=QUERY, limit=n) for n in (1, 6)]
            ),
            lambda q: q.query_batch_points(
                "things", [models.QueryRequest(query=QUERY, limit=n) for n in (1, 5)]
            ),
        ),
        (
            {"max_timeout": 5},
            lambda q: q.scroll("things", timeout=6),
            lambda q: q.scroll("things", timeout=5),
        ),
        (
            {"max_timeout": 5},
            lambda q: q.upsert("things", [point(1)], timeout=6),
            lambda q: q.upsert("things", [point(1)], timeout=5),
        ),
        (
            {"unindexed_filtering_retrieve": False},
            lambda q: q.scroll("things", ONE),
            lambda q: q.delete("things", ONE),
        ),
        (
            {"unindexed_filtering_retrieve": False},
            lambda q: q.query_points("things", QUERY, query_filter=ONE),
            lambda q: q.scroll(
                "things", models.Filter(must=[models.HasIdCondition(has_id=[1, 2])])
            ),
        ),
        (
            {"unindexed_filtering_update": False},
            lambda q: q.delete("things", ONE),
            lambda q: q.scroll("things", ONE),
        ),
        (
            {"unindexed_filtering_update": False},
            lambda q: q.set_payload("things", {"x": 1}, ONE),
            lambda q: q.set_payload("things", {"x": 1}, [1]),
        ),
        (
            {"filter_max_conditions": 2},
            lambda q: q.scroll("things", THREE),
            lambda q: q.scroll("things", models.Filter(must=[*ONE.must, *ONE.must])),
        ),
        (
            {"condition_max_size": 2},
            lambda q: q.scroll("things", filtered(match=models.MatchAny(any=[1, 2, 3]))),
            lambda q: q.scroll("things", filtered(match=models.MatchAny(any=[1, 2]))),
        ),
        (
            {"search_allow_exact": False},
            lambda q: q.query_points("things", QUERY, **with_params(exact=True)),
            lambda q: q.query_points("things", QUERY, **with_params(exact=False)),
        ),
        (
            {"search_max_hnsw_ef": 50},
            lambda q: q.query_points("things", QUERY, **with_params(hnsw_ef=51)),
            lambda q: q.query_points("things", QUERY, **with_params(hnsw_ef=50)),
        ),
        (
            {"upsert_max_batchsize": 2},
            lambda q: q.upsert("things", [point(i) for i in (1, 2, 7)]),
            lambda q: q.upsert("things", [point(i) for i in (1, 2)]),
        ),
        (
            {"max_payload_index_count": 1},
            lambda q: q.create_payload_index("things", "n", "integer"),
            lambda q: q.create_payload_index("things", "i", "integer"),
        ),
    ],
)
def test_strict_mode_refuses_only_what_it_forbids(things, limit, refused, allowed):
    things.create_collection("other", PARAMS)
    things.upsert("things", [point(i, {"n": i, "i": i}, [i, i]) for i in (1, 2, 3)])
    things.create_payload_index("things", "i", models.PayloadSchemaType.INTEGER)
    refused_in = things.scroll("things", limit=5, with_vectors=True)
    things.update_collection(
        "things", strict_mode_config=models.StrictModeConfig(enabled=True, **limit)
    )
    with pytest.raises(Refused, match="(Forbidden|Bad request): [A-Z].*Help: ") as caught:
        refused(things)
    assert 400 <= caught.value.status_code < 500
    assert things.scroll("things", limit=5, with_vectors=True) == refused_in
    allowed(things)
    things.update_collection("things", strict_mode_config=models.StrictModeConfig(enabled=False))
    refused(things)


@pytest.mark.parametrize(
    "limit",
    [
        {"max_points_count": 4},
        {"max_collection_vector_size_bytes": 32},
    ],
)
def test_strict_mode_compares_sizes_before_a_write_as_they_were_measured(things, limit):
    """Sizes are measured when a collection is created, and again at every 32nd write."""
    things.update_collection(
        "things", strict_mode_config=models.StrictModeConfig(enabled=True, **limit)
    )
    things.upsert("things", [point(i, {"n": i}, [i, i]) for i in range(5)])  # more than allowed
    for _ in range(30):
        things.upsert("things", [point(1, None, [1, 2])])
    before = things.scroll("things", with_vectors=True)
    with pytest.raises(Refused, match=next(iter(limit))):
        things.batch_update_points(
            "things",
            [
                models.DeleteOperation(delete=models.PointIdsList(points=[2])),
                models.UpsertOperation(upsert=models.PointsList(points=[point(9)])),
            ],
        )
    assert things.scroll("things", with_vectors=True) == before
    things.delete("things", [0, 1, 2, 3, 4])  # what frees is never refused


def test_sizes_of_few_collections_are_cached_and_others_are_measured_again(things, monkeypatch):
    tuned(monkeypatch, sizes_kept=2)
    strict = models.StrictModeConfig(enabled=True, max_points_count=1)
    things.update_collection("things", strict_mode_config=strict)
    things.upsert("things", [point(1), point(2)])  # more than allowed, but not measured yet
    things.upsert("things", [point(3)])
    for name in "ab":
        things.create_collection(name, PARAMS)
    with pytest.raises(Refused, match="max_points_count"):
        things.upsert("things", [point(4)])


def test_strict_mode_holds_within_batches(things):
    things.update_collection(
        "things", strict_mode_config=models.StrictModeConfig(enabled=True, upsert_max_batchsize=2)
    )
    many = models.PointsList(points=[point(i) for i in range(3)])
    with pytest.raises(Refused, match="upsert_max_batchsize"):
        things.batch_update_points("things", [models.UpsertOperation(upsert=many)])
    assert things.count("things").count == 0
