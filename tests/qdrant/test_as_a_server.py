"""Surprising behaviour of a real server, at the limits of requests."""

import pytest

from retrieval_store.qdrant import QdrantClient, Refused, models

DOT, EUCLID = models.Distance.DOT, models.Distance.EUCLID
PLANE = models.VectorParams(size=2, distance=DOT)
RRF = models.FusionQuery(fusion=models.Fusion.RRF)


@pytest.fixture
def qdrant(tmp_path):
    with QdrantClient(path=tmp_path / "store") as qdrant:
        qdrant.create_collection("c", PLANE)
        yield qdrant


def put(qdrant, payloads, name="c"):
    """Write points by id, all with a vector."""
    points = [
        models.PointStruct(id=i, vector=[1.0, float(i)], payload=payload)
        for i, payload in payloads.items()
    ]
    qdrant.upsert(name, points)


def filtered(**condition):
    return models.Filter(must=[models.FieldCondition(**condition)])


def ids(qdrant, given, name="c"):
    return [one.id for one in qdrant.scroll(name, given, limit=100)[0]]


def strict(qdrant, name="c", **limits):
    config = models.StrictModeConfig(enabled=True, **limits)
    qdrant.update_collection(name, strict_mode_config=config)


def refused(call, status):
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.status_code == status
    return caught.value


# Filters


def test_an_empty_text_matches_every_string_without_a_text_index(qdrant):
    put(qdrant, {1: {"t": "River", "l": [{"k": ""}]}, 2: {"t": ""}, 3: {"t": 5}, 4: {}})
    empty = models.MatchText(text="")
    assert ids(qdrant, filtered(key="t", match=empty)) == [1, 2]
    nested = models.Nested(key="l", filter=filtered(key="k", match=empty))
    assert ids(qdrant, models.Filter(must=[models.NestedCondition(nested=nested)])) == [1]
    qdrant.create_payload_index("c", "t", models.PayloadSchemaType.DATETIME)
    assert ids(qdrant, filtered(key="t", match=empty)) == [1, 2]
    qdrant.delete_payload_index("c", "t")
    qdrant.create_payload_index("c", "t", models.PayloadSchemaType.TEXT)
    assert ids(qdrant, filtered(key="t", match=empty)) == []


@pytest.mark.parametrize("index", [None, models.PayloadSchemaType.KEYWORD])
def test_texts_are_compared_by_letters_where_no_index_cuts_them_into_words(qdrant, index):
    put(qdrant, {1: {"t": "River"}, 2: {"t": "a riverbank"}, 3: {"t": ["gold", "the river"]}})
    if index is not None:
        qdrant.create_payload_index("c", "t", index)
    assert ids(qdrant, filtered(key="t", match=models.MatchTextAny(text_any="river gold"))) == [
        2,
        3,
    ]
    assert ids(qdrant, filtered(key="t", match=models.MatchText(text="the river"))) == [3]
    assert ids(qdrant, filtered(key="t", match=models.MatchPhrase(phrase="e ri"))) == [3]


def test_should_conditions_of_a_query_and_its_prefetch_are_combined(qdrant):
    put(qdrant, {1: {"a": 1}, 2: {"b": 1}, 3: {}})

    def should(key):
        condition = models.FieldCondition(key=key, match=models.MatchValue(value=1))
        return models.Filter(should=[condition])

    found = qdrant.query_points(
        "c",
        query=[1.0, 0.0],
        prefetch=models.Prefetch(query=[1.0, 0.0], filter=should("a"), limit=5),
        query_filter=should("b"),
    )
    assert {one.id for one in found.points} == {1, 2}


# Queries


def test_a_threshold_needs_a_query_that_gives_scores(qdrant):
    put(qdrant, {1: {"n": 1}})
    qdrant.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER)
    for query in (None, models.OrderByQuery(order_by="n"), models.SampleQuery(sample="random")):
        refused(lambda query=query: qdrant.query_points("c", query, score_threshold=0.5), 400)
    inner = models.Prefetch(query=models.OrderByQuery(order_by="n"), score_threshold=0.5)
    refused(lambda: qdrant.query_points("c", [1.0, 0.0], prefetch=inner), 400)


@pytest.mark.parametrize("distance", [EUCLID, models.Distance.MANHATTAN])
def test_in_a_space_of_distances_a_threshold_keeps_what_is_below(qdrant, distance):
    qdrant.create_collection("d", models.VectorParams(size=2, distance=distance))
    put(qdrant, dict.fromkeys(range(1, 6)), "d")
    recommend = models.RecommendInput(positive=[[1.0, 2.0]], strategy="best_score")
    query = models.RecommendQuery(recommend=recommend)
    scores = [one.score for one in qdrant.query_points("d", query).points]
    assert scores == sorted(scores, reverse=True) and len(scores) == 5
    above = qdrant.query_points("d", query, score_threshold=scores[0] + 1).points
    assert len(above) == 5
    # They are looked at from the greatest on, and the first that isn't below ends it.
    assert qdrant.query_points("d", query, score_threshold=scores[2]).points == []


def test_no_step_finds_the_points_that_a_prefetch_names(qdrant):
    put(qdrant, dict.fromkeys(range(4)))
    named = models.Prefetch(query=2, limit=10)
    other = models.Prefetch(query=[1.0, 1.0], limit=10)
    found = qdrant.query_points("c", [1.0, 1.0], prefetch=[named, other]).points
    assert [one.id for one in found] == [3, 1, 0]


def test_points_named_by_a_look_up_in_the_same_collection_are_left_out_too(qdrant):
    put(qdrant, dict.fromkeys(range(3)))
    lookup = models.LookupLocation(collection="c")
    found = qdrant.query_points("c", 2, lookup_from=lookup).points
    assert [one.id for one in found] == [1, 0]


def test_unreadable_requests_are_refused_before_missing_collections(qdrant):
    nothing = models.RecommendQuery(recommend=models.RecommendInput(positive=[]))
    order = models.Prefetch(query=models.OrderByQuery(order_by="none"))
    for prefetch in (
        [models.Prefetch(query=77), models.Prefetch(query=nothing)],
        [order, models.Prefetch(query=nothing)],
    ):
        refused(lambda prefetch=prefetch: qdrant.query_points("c", [1, 1], prefetch=prefetch), 422)
    missing = [models.Prefetch(query=models.FormulaQuery(formula=1.0)), models.Prefetch(query=77)]
    refused(lambda: qdrant.query_points("c", [1, 1], prefetch=missing), 404)


def test_requests_that_need_an_index_name_how_to_create_it(qdrant):
    put(qdrant, {1: {"n": 1}})
    for ask in (
        lambda: qdrant.scroll("c", order_by="n"),
        lambda: qdrant.facet("c", "n"),
    ):
        with pytest.raises(ValueError, match="'n' has no index of .*: create_payload_index"):
            ask()


def test_an_offset_is_nothing_to_a_random_sample(qdrant):
    put(qdrant, dict.fromkeys(range(6)))
    sample = models.SampleQuery(sample=models.Sample.RANDOM)
    found = qdrant.query_points("c", sample, limit=100, offset=4).points
    assert {one.id for one in found} == set(range(6))


def test_an_offset_skips_diverse_hits(qdrant):
    put(qdrant, dict.fromkeys(range(6)))
    mmr = models.NearestQuery(nearest=[1.0, 1.0], mmr=models.Mmr(diversity=0.2))
    assert len(qdrant.query_points("c", mmr, limit=3, offset=2).points) == 1


def test_a_matrix_of_one_point_is_empty(qdrant):
    put(qdrant, {7: None})
    found = qdrant.search_matrix_offsets("c", sample=5, limit=3)
    assert (found.ids, found.scores) == ([], [])
    assert qdrant.search_matrix_pairs("c", sample=5, limit=3).pairs == []


def test_idf_is_of_vectors_that_are_weighted_by_it(qdrant):
    qdrant.create_collection(
        "s",
        {"a": PLANE},
        sparse_vectors_config={
            "plain": models.SparseVectorParams(),
            "idf": models.SparseVectorParams(modifier=models.Modifier.IDF),
        },
    )
    sparse, params = (
        models.SparseVector(indices=[1], values=[1.0]),
        models.SearchParams(idf="global"),
    )
    vector = {"a": [1.0, 1.0], "plain": sparse, "idf": sparse}
    qdrant.upsert("s", [models.PointStruct(id=1, vector=vector)])
    refused(lambda: qdrant.query_points("s", sparse, using="plain", search_params=params), 400)
    refused(lambda: qdrant.query_points("s", [1, 1], using="a", search_params=params), 400)
    assert qdrant.query_points("s", sparse, using="idf", search_params=params).points


# Formulas


def scored(qdrant, formula, defaults, point=1):
    query = models.FormulaQuery(formula=formula, defaults=defaults)
    prefetch = models.Prefetch(query=[1.0, 0.0], filter=models.Filter(must=[having(point)]))
    (found,) = qdrant.query_points("c", query, prefetch=prefetch).points
    return found.score


def having(point):
    return models.HasIdCondition(has_id=[point])


@pytest.mark.parametrize("value", [None, "text", True, {"x": 1}, [True]])
def test_a_default_applies_where_a_number_index_has_no_value(qdrant, value):
    put(qdrant, {1: {"p": value}, 2: {}})
    assert scored(qdrant, "p", {"p": 7}, 2) == 7
    refused(lambda: scored(qdrant, "p", {"p": 7}), 400)  # something else is there
    qdrant.create_payload_index("c", "p", models.PayloadSchemaType.INTEGER)
    assert scored(qdrant, "p", {"p": 7}) == 7


def test_of_several_values_a_formula_takes_none_but_two_numbers_are_a_place(qdrant):
    put(qdrant, {1: {"p": [2, 3], "q": [None, 4]}})
    refused(lambda: scored(qdrant, "p", {"p": 7}), 400)
    refused(lambda: scored(qdrant, "q", {"q": 7}), 400)
    distance = {"geo_distance": {"origin": {"lon": 2.0, "lat": 3.0}, "to": "p"}}
    assert scored(qdrant, distance, {}) == pytest.approx(0.0)


def test_an_index_of_times_gives_a_formula_times_and_no_numbers(qdrant):
    put(qdrant, {1: {"at": "1970-01-01T00:01:00Z"}})
    qdrant.create_payload_index("c", "at", models.PayloadSchemaType.DATETIME)
    assert scored(qdrant, {"datetime_key": "at"}, {}) == 60.0
    refused(lambda: scored(qdrant, "at", {"at": 1}), 400)


# Groups


def test_prefetches_look_for_so_many_times_as_many_points_as_a_group_has(qdrant):
    put(qdrant, {i: {"k": i % 2} if i < 9 else {} for i in range(12)})
    groups = qdrant.query_points_groups(
        "c",
        group_by="k",
        query=[1.0, 0.0],
        prefetch=models.Prefetch(query=[0.0, 1.0], limit=1),
        limit=2,
        group_size=2,
    ).groups
    assert {group.id: sorted(hit.id for hit in group.hits) for group in groups} == {
        0: [6, 8],
        1: [5, 7],
    }


def test_groups_of_an_order_have_the_least_values_first(qdrant):
    put(qdrant, {i: {"k": i % 2, "n": -i} for i in range(8)})
    qdrant.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER)
    groups = qdrant.query_points_groups(
        "c", group_by="k", query=models.OrderByQuery(order_by="n"), limit=2, group_size=2
    ).groups
    assert [(group.id, [hit.order_value for hit in group.hits]) for group in groups] == [
        (1, [-7, -5]),
        (0, [-6, -4]),
    ]


# Writes


@pytest.mark.parametrize(
    "vector", [[], {"": []}, {"none": []}], ids=["alone", "by name", "of no name"]
)
def test_an_empty_vector_is_refused_and_nothing_is_written(qdrant, vector):
    put(qdrant, {1: {"n": 1}})
    before = qdrant.scroll("c", with_vectors=True)
    refused(lambda: qdrant.upsert("c", [models.PointStruct(id=2, vector=vector)]), 422)
    refused(lambda: qdrant.update_vectors("c", [models.PointVectors(id=1, vector=vector)]), 422)
    batch = models.Batch(ids=[2], vectors=[[]])
    refused(lambda: qdrant.upsert("c", batch), 422)
    assert qdrant.scroll("c", with_vectors=True) == before


def test_empty_writes_are_refused_and_an_empty_batch_is_none(qdrant):
    put(qdrant, {1: None})
    refused(lambda: qdrant.upsert("c", []), 400)
    refused(lambda: qdrant.update_vectors("c", []), 422)
    refused(lambda: qdrant.update_vectors("c", [models.PointVectors(id=1, vector={})]), 422)
    assert qdrant.batch_update_points("c", []) == []


def test_vectors_of_missing_points_are_reported_as_that(qdrant):
    given = [models.PointVectors(id=9, vector=[1.0, 2.0, 3.0])]
    refused(lambda: qdrant.update_vectors("c", given), 404)
    put(qdrant, {9: None})
    refused(lambda: qdrant.update_vectors("c", given), 400)


def test_a_missing_index_can_be_dropped(qdrant):
    assert qdrant.delete_payload_index("c", "never").status == models.UpdateStatus.COMPLETED
    refused(lambda: qdrant.delete_payload_index("c", ""), 404)
    refused(lambda: qdrant.delete_payload_index("c", "no path"), 400)


def test_no_numbers_beyond_float32_are_stored(qdrant):
    refused(lambda: qdrant.upsert("c", [models.PointStruct(id=1, vector=[1e39, 1.0])]), 400)
    assert qdrant.count("c").count == 0


def test_dicts_are_accepted_instead_of_models(qdrant):
    put(qdrant, {i: {"n": i} for i in range(4)})
    n = {"must": [{"key": "n", "range": {"gte": 2}}]}
    assert qdrant.count("c", n).count == 2
    assert [one.id for one in qdrant.scroll("c", n)[0]] == [2, 3]
    found = qdrant.query_points("c", [0.0, 1.0], search_params={"exact": True}, query_filter=n)
    assert [one.id for one in found.points] == [3, 2]
    prefetch = [{"query": [0.0, 1.0], "limit": 2}]
    fused = qdrant.query_points("c", RRF, prefetch=prefetch)
    assert [one.id for one in fused.points] == [3, 2]
    qdrant.set_payload("c", {"m": 1}, {"filter": n})
    qdrant.delete("c", {"points": [0]})
    qdrant.delete("c", {"must": [{"key": "n", "match": {"value": 1}}]})
    assert [one.payload for one in qdrant.scroll("c")[0]] == [{"n": 2, "m": 1}, {"n": 3, "m": 1}]
    qdrant.update_collection("c", strict_mode_config={"enabled": True, "max_query_limit": 1})
    refused(lambda: qdrant.scroll("c", limit=2), 400)
    qdrant.create_collection("d", {"size": 2, "distance": "Dot"})
    assert qdrant.get_collection("d").config.params.vectors == PLANE
    qdrant.create_collection("e", {"a": {"size": 2, "distance": "Dot"}})
    assert qdrant.get_collection("e").config.params.vectors == {"a": PLANE}
    qdrant.create_payload_index("d", "n", {"type": "integer", "range": False})
    assert qdrant.get_collection("d").payload_schema["n"].params.range is False


# Shard keys


def test_an_unknown_shard_key_is_refused(qdrant):
    put(qdrant, {1: None})
    key = {"shard_key_selector": "eu"}
    for call in (
        lambda: qdrant.upsert("c", [models.PointStruct(id=2, vector=[1.0, 1.0])], **key),
        lambda: qdrant.upload_points("c", [models.PointStruct(id=2, vector=[1.0, 1.0])], **key),
        lambda: qdrant.delete("c", [1], **key),
        lambda: qdrant.set_payload("c", {"a": 1}, [1], **key),
        lambda: qdrant.scroll("c", **key),
        lambda: qdrant.count("c", **key),
        lambda: qdrant.query_points("c", [1.0, 1.0], **key),
        lambda: qdrant.retrieve("c", [1], **key),
        lambda: qdrant.query_batch_points(
            "c", [models.QueryRequest(query=[1.0, 1.0], shard_key="eu")]
        ),
        lambda: qdrant.batch_update_points(
            "c",
            [models.DeleteOperation(delete=models.PointIdsList(points=[1], shard_key="eu"))],
        ),
    ):
        refused(call, 400)
    assert [one.payload for one in qdrant.scroll("c")[0]] == [{}]


def test_where_shards_are_chosen_by_keys_nothing_is_written_without_one(qdrant):
    qdrant.create_collection("k", PLANE, sharding_method=models.ShardingMethod.CUSTOM)
    refused(lambda: put(qdrant, {1: None}, "k"), 400)
    delete = models.DeleteOperation(delete=models.PointIdsList(points=[1]))
    refused(lambda: qdrant.batch_update_points("k", [delete]), 400)
    assert qdrant.count("k").count == 0


@pytest.mark.parametrize(
    "setting", ["shard_number", "replication_factor", "write_consistency_factor"]
)
def test_a_collection_has_at_least_one_shard_and_one_replica(qdrant, setting):
    refused(lambda: qdrant.create_collection("none", PLANE, **{setting: 0}), 422)
    assert not qdrant.collection_exists("none")


# Settings


def test_vectors_for_turbo_quantization_are_stored_exactly(qdrant):
    turbo = models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(always_ram=True))
    params = models.VectorParams(
        size=2, distance=DOT, datatype=models.Datatype.TURBO4, quantization_config=turbo
    )
    qdrant.create_collection("turbo", params, quantization_config=turbo)
    qdrant.upsert("turbo", [models.PointStruct(id=1, vector=[0.123456, 3.0])])
    config = qdrant.get_collection("turbo").config
    assert config.params.vectors == params and config.quantization_config == turbo
    (found,) = qdrant.retrieve("turbo", [1], with_vectors=True)
    assert found.vector == pytest.approx([0.123456, 3.0], rel=1e-7)


def test_memory_settings_are_shown_as_they_were_passed(qdrant):
    memory = {"memory": models.Memory.PINNED, "on_disk": False}
    held = {"memory": models.Memory.CACHED, "on_disk": False}
    vectors = models.VectorParams(
        size=2, distance=DOT, hnsw_config=models.HnswConfigDiff(**memory), **held
    )
    for wrong in (
        {"vectors_config": vectors.model_copy(update=memory)},
        {"payload": {"memory": "pinned"}},
    ):
        given = {"vectors_config": {"a": vectors}, **wrong}
        with pytest.raises(Refused, match="have memory 'pinned'"):
            qdrant.create_collection("pinned", **given)
    sparse = models.SparseVectorParams(index=models.SparseIndexParams(memory=models.Memory.COLD))
    scalar = models.ScalarQuantizationConfig(
        type="int8", always_ram=True, memory=models.Memory.CACHED
    )
    qdrant.create_collection(
        "placed",
        {"a": vectors},
        sparse_vectors_config={"s": sparse},
        quantization_config=models.ScalarQuantization(scalar=scalar),
    )
    config = qdrant.get_collection("placed").config
    assert config.params.vectors == {"a": vectors}
    assert config.params.sparse_vectors == {"s": sparse}
    assert config.quantization_config.scalar == scalar
    keyword = models.KeywordIndexParams(type="keyword", **memory)
    qdrant.create_payload_index("placed", "k", keyword)
    assert qdrant.get_collection("placed").payload_schema["k"].params == keyword


# Strict mode


def test_strict_mode_refuses_exact_counts_and_searches_without_a_graph(qdrant):
    qdrant.create_collection(
        "flat", PLANE.model_copy(update={"hnsw_config": models.HnswConfigDiff(m=0)})
    )
    for name in ("c", "flat"):
        put(qdrant, {1: {"k": "x"}}, name)
        qdrant.create_payload_index(name, "k", models.PayloadSchemaType.KEYWORD)
        strict(qdrant, name, search_allow_exact=False)
        refused(lambda name=name: qdrant.count(name), 400)
        assert qdrant.count(name, exact=False).count == 1
        refused(lambda name=name: qdrant.facet(name, "k", exact=True), 400)
        assert qdrant.facet(name, "k").hits[0].count == 1
    assert qdrant.query_points("c", [1.0, 1.0]).points
    refused(lambda: qdrant.query_points("flat", [1.0, 1.0]), 400)


def test_strict_mode_counts_the_limits_of_prefetches(qdrant):
    put(qdrant, {1: None})
    strict(qdrant, max_query_limit=3)
    inner = models.Prefetch(query=[1.0, 1.0], limit=4)
    refused(lambda: qdrant.query_points("c", [1.0, 1.0], prefetch=inner, limit=2), 400)
    inner.limit = 3
    assert qdrant.query_points("c", [1.0, 1.0], prefetch=inner, limit=2).points


INDEXED = {
    "w": models.KeywordIndexParams(type="keyword", prefix=True),
    "plain": models.PayloadSchemaType.KEYWORD,
    "n": models.IntegerIndexParams(type="integer", lookup=False, range=True),
    "f": models.PayloadSchemaType.FLOAT,
    "l[].k": models.PayloadSchemaType.INTEGER,
}
A, ONE = models.MatchPrefix(prefix="a"), models.MatchValue(value=1)


@pytest.fixture
def indexed(qdrant):
    put(qdrant, {1: {"w": "ab", "plain": "ab", "n": 1, "f": 0.5, "l": [{"k": 1}]}})
    for key, schema in INDEXED.items():
        qdrant.create_payload_index("c", key, schema)
    strict(qdrant, unindexed_filtering_retrieve=False)
    return qdrant


@pytest.mark.parametrize(
    "condition, served",
    [
        (models.FieldCondition(key="w", match=A), True),
        (models.FieldCondition(key="plain", match=A), False),
        (models.FieldCondition(key="plain", match=models.MatchValue(value="ab")), True),
        (models.FieldCondition(key="plain", match=models.MatchText(text="a")), False),
        (models.FieldCondition(key="n", match=ONE), False),
        (models.FieldCondition(key="n", range=models.Range(gte=1)), True),
        (models.FieldCondition(key="n", match=models.MatchAny(any=[])), True),
        (models.FieldCondition(key="none", is_null=True), False),
        (models.IsEmptyCondition(is_empty=models.PayloadField(key="f")), True),
        (
            models.NestedCondition(
                nested=models.Nested(key="l", filter=filtered(key="k", match=ONE))
            ),
            True,
        ),
        (
            models.NestedCondition(
                nested=models.Nested(key="l", filter=filtered(key="z", match=ONE))
            ),
            False,
        ),
        (models.FieldCondition(key="w", match=models.MatchSubstring(substring="b")), False),
        (models.HasIdCondition(has_id=[1]), True),
    ],
)
def test_strict_mode_requires_an_index_that_serves_the_condition(indexed, condition, served):
    given = models.Filter(must=[condition])
    if served:
        indexed.count("c", given)
    else:
        refused(lambda: indexed.count("c", given), 400)


def test_strict_mode_requires_indexes_for_groups_and_formulas_too(indexed):
    def groups(key):
        return indexed.query_points_groups("c", group_by=key, query=[1.0, 1.0], limit=1)

    assert groups("w").groups
    refused(lambda: groups("f"), 400)
    refused(lambda: groups("none"), 400)
    assert scored(indexed, "f", {}) == 0.5
    refused(lambda: scored(indexed, "w", {"w": 1}), 400)
    refused(lambda: scored(indexed, {"datetime_key": "f"}, {}), 400)


def test_strict_mode_bounds_vectors_that_are_updated_as_those_that_are_written(qdrant):
    several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=2, distance=DOT, multivector_config=several)
    qdrant.create_collection("m", {"m": params})
    qdrant.upsert("m", [models.PointStruct(id=1, vector={"m": [[1.0, 2.0]]})])
    strict(qdrant, "m", multivector_config={"m": models.StrictModeMultivector(max_vectors=1)})
    more = {"m": [[1.0, 2.0], [3.0, 4.0]]}
    refused(lambda: qdrant.upsert("m", [models.PointStruct(id=1, vector=more)]), 400)
    refused(lambda: qdrant.update_vectors("m", [models.PointVectors(id=1, vector=more)]), 400)
    assert qdrant.retrieve("m", [1], with_vectors=True)[0].vector == {"m": [[1.0, 2.0]]}


def test_rate_limits_apply_on_a_server_and_are_only_stored_here(qdrant):
    put(qdrant, {1: None})
    strict(qdrant, read_rate_limit=1, write_rate_limit=1)
    for _ in range(3):
        put(qdrant, {2: None, 3: None})
        assert qdrant.count("c").count == 3
    kept = qdrant.get_collection("c").config.strict_mode_config
    assert (kept.read_rate_limit, kept.write_rate_limit) == (1, 1)


def test_payloads_may_take_so_many_bytes(qdrant):
    strict(qdrant, max_collection_payload_size_bytes=4_096)
    put(qdrant, {1: {"t": "x" * 9_000}})
    for _ in range(30):
        qdrant.set_payload("c", {"a": 1}, [1])
    refused(lambda: qdrant.set_payload("c", {"a": 2}, [1]), 400)
    assert qdrant.retrieve("c", [1], ["a"])[0].payload == {"a": 1}
    qdrant.delete_payload("c", ["t"], [1])
