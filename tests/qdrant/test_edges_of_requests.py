"""Responses of the embedded client to empty, partial and extreme arguments equal a real
server's."""

import pytest

from retrieval_store.qdrant import Refused, models

DOT, EUCLID = models.Distance.DOT, models.Distance.EUCLID
SPACES = {"dot": DOT, "far": EUCLID}
AVERAGE = models.RecommendStrategy.AVERAGE_VECTOR
EVERY_POINT = models.Filter()
NO_POINT = models.Filter(must=[models.HasIdCondition(has_id=[])])
LISTS = {"l": [None, 1, [2, None], {"a": 1, "b": {"c": 2}}], "n": 5, "o": {"x": 1, "y": 2}}


@pytest.fixture
def qdrant(embedded):
    embedded.create_collection(
        "c",
        {name: models.VectorParams(size=2, distance=d) for name, d in SPACES.items()},
        sparse_vectors_config={"s": models.SparseVectorParams()},
    )
    points = [
        models.PointStruct(id=i, vector={"dot": [i, 0], "far": [i, 0]}, payload={**LISTS})
        for i in range(1, 5)
    ]
    embedded.upsert("c", points)
    return embedded


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (["l[]"], {"l": LISTS["l"]}),
        (["l[0]"], {"l": []}),
        (["l[].a"], {"l": [None, 1, [], {"a": 1}]}),
        (["l[][]"], {"l": [None, 1, [2, None], {}]}),
        (["l[].b.c"], {"l": [None, 1, [], {"b": {"c": 2}}]}),
        (["n.x"], {"n": 5}),
        (["o.x"], {"o": {"x": 1}}),
        (["none"], {}),
        ([], {}),
        (models.PayloadSelectorExclude(exclude=["l", "o.x"]), {"n": 5, "o": {"y": 2}}),
        (models.PayloadSelectorExclude(exclude=["l[]", "n", "o"]), {"l": []}),
        (models.PayloadSelectorExclude(exclude=["l[0]", "n", "o"]), {"l": LISTS["l"]}),
        (
            models.PayloadSelectorExclude(exclude=["l[].b", "n", "o"]),
            {"l": [None, 1, [2, None], {"a": 1}]},
        ),
    ],
)
def test_payload_selectors_on_lists_and_on_values_above_a_path(qdrant, selector, expected):
    (record,) = qdrant.retrieve("c", [1], with_payload=selector)
    assert record.payload == expected


def test_overwriting_a_payload_in_a_batch_heeds_no_key(qdrant):
    body = models.SetPayload(payload={"z": 1}, points=[1], key="o")
    qdrant.batch_update_points("c", [models.OverwritePayloadOperation(overwrite_payload=body)])
    assert qdrant.retrieve("c", [1])[0].payload == {"z": 1}


def test_an_empty_list_of_vectors_means_no_vectors_of_this_kind(qdrant):
    assert qdrant.retrieve("c", [1], with_vectors=[])[0].vector == {}
    assert qdrant.retrieve("c", [1], with_vectors=False)[0].vector is None
    hits = qdrant.query_points("c", [1.0, 0.0], using="dot", with_vectors=[]).points
    assert [hit.vector for hit in hits] == [{}] * 4


def test_a_missing_vector_is_an_error_only_if_a_point_is_found(qdrant):
    for find in (
        lambda chosen: qdrant.scroll("c", chosen, with_vectors=["nope"])[0],
        lambda chosen: (
            qdrant.query_points(
                "c", [1.0, 0.0], using="dot", query_filter=chosen, with_vectors=["dot", "nope"]
            ).points
        ),
    ):
        assert find(NO_POINT) == []
        with pytest.raises(Refused, match="Not existing vector name error: nope"):
            find(EVERY_POINT)


def test_deleting_a_missing_vector_is_an_error_only_if_a_point_is_found(qdrant):
    qdrant.delete_vectors("c", ["nope"], NO_POINT)
    with pytest.raises(Refused, match="Not existing vector name error: nope"):
        qdrant.delete_vectors("c", ["dot", "nope"], EVERY_POINT)
    assert set(qdrant.retrieve("c", [1], with_vectors=True)[0].vector) == {"dot", "far"}


def test_ids_and_a_filter_together_choose_the_points_of_either_whose_vectors_are_deleted(qdrant):
    second = models.Filter(must=[models.HasIdCondition(has_id=[2])])
    body = models.DeleteVectors(vector=["far"], points=[1], filter=second)
    qdrant.batch_update_points("c", [models.DeleteVectorsOperation(delete_vectors=body)])
    records = qdrant.retrieve("c", [1, 2, 3], with_vectors=True)
    assert ["far" in record.vector for record in records] == [False, False, True]


@pytest.mark.parametrize(
    ("using", "query", "threshold", "expected"),
    [
        ("dot", [1.0, 0.0], 3.0, [4]),
        ("dot", [1.0, 0.0], 2.9999, [4, 3]),
        ("far", [0.0, 0.0], 2.0, [1]),
        ("far", [0.0, 0.0], 2.0001, [1, 2]),
        ("dot", models.RecommendQuery(recommend=models.RecommendInput(positive=[1])), 3.0, [4]),
    ],
)
def test_a_hit_whose_score_is_the_threshold_is_left_out(qdrant, using, query, threshold, expected):
    hits = qdrant.query_points("c", query, using=using, score_threshold=threshold).points
    assert [hit.id for hit in hits] == expected


def test_but_not_one_that_a_fusion_has_scored(qdrant):
    fused = {
        "query": models.FusionQuery(fusion=models.Fusion.RRF),
        "prefetch": models.Prefetch(query=[1.0, 0.0], using="dot"),
    }
    first = qdrant.query_points("c", **fused).points[0]
    hits = qdrant.query_points("c", **fused, score_threshold=first.score).points
    assert [hit.id for hit in hits] == [first.id]


def recommended(qdrant, positive, negative=()):
    examples = models.RecommendInput(positive=positive, negative=negative, strategy=AVERAGE)
    query = models.RecommendQuery(recommend=examples)
    return [hit.score for hit in qdrant.query_points("c", query, using="dot").points]


def test_an_average_is_of_examples_of_any_size_and_has_that_of_the_longest(qdrant):
    assert recommended(qdrant, [[2.0, 0.0], [2.0]]) == [8.0, 6.0, 4.0, 2.0]
    assert recommended(qdrant, [[2.0], [4.0, 1.0]]) == [12.0, 9.0, 6.0, 3.0]
    assert recommended(qdrant, [[2.0, 0.0]], [[3.0, 0.0, 9.0]]) == [4.0, 3.0, 2.0, 1.0]
    for positive, negative in (([[2.0, 0.0], [2.0, 0.0, 0.0]], ()), ([[2.0, 0.0]], [[1.0]])):
        with pytest.raises(Refused, match="expected dim: 2"):
            recommended(qdrant, positive, negative)


def test_no_points_are_in_no_shards(qdrant):
    assert qdrant.count("c").count == 4
    assert qdrant.count("c", shard_key_selector=[]).count == 0
    with pytest.raises(Refused, match='there is no shard key "a"'):
        qdrant.count("c", shard_key_selector="a")


def dense(**parts):
    config = {"size": 2, "distance": DOT, **parts}
    return models.DenseVectorNameConfig(dense=models.DenseVectorConfig(**config))


def sparse(**parts):
    return models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(**parts))


def test_a_vector_can_be_created_again_only_with_the_same_configuration(qdrant):
    qdrant.create_vector_name("c", "dot", dense())
    qdrant.create_vector_name("c", "s", sparse())
    qdrant.create_vector_name("c", "t", sparse(modifier="idf", datatype="float16"))
    qdrant.create_vector_name("c", "t", sparse(modifier="idf", datatype="float16"))
    assert qdrant.retrieve("c", [1], with_vectors=["dot"])[0].vector == {"dot": [1.0, 0.0]}
    others = {
        "dot": [dense(size=3), dense(distance=EUCLID), dense(datatype="uint8"), sparse()],
        "s": [sparse(modifier="idf"), sparse(datatype="float16"), dense()],
    }
    for name, configs in others.items():
        for config in configs:
            with pytest.raises(Refused, match="different configuration") as refused:
                qdrant.create_vector_name("c", name, config)
            assert refused.value.status_code == 400


def test_sparse_vectors_that_share_no_index_are_no_pair(qdrant):
    for i, indices in enumerate(([1, 2], [2, 3], [9]), start=1):
        vector = models.SparseVector(indices=indices, values=[-1.0] * len(indices))
        qdrant.update_vectors("c", [models.PointVectors(id=i, vector={"s": vector})])
    pairs = qdrant.search_matrix_pairs("c", using="s").pairs
    assert [(pair.a, pair.b, pair.score) for pair in pairs] == [(1, 2, 1.0), (2, 1, 1.0)]
    assert qdrant.search_matrix_offsets("c", using="s").ids == [1, 2, 3]


def test_an_order_of_prefetched_points_has_each_once_within_the_limit(qdrant):
    qdrant.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER)
    qdrant.set_payload("c", {"n": [1, 2]}, points=[1])
    qdrant.set_payload("c", {"n": 3}, points=[2])
    qdrant.delete("c", [3, 4])
    query = models.OrderByQuery(order_by="n")
    prefetch = models.Prefetch(query=[1.0, 0.0], using="dot")
    assert [hit.id for hit in qdrant.query_points("c", query).points] == [1, 1, 2]
    for limit, expected in ((1, [1]), (2, [1]), (3, [1, 2])):
        hits = qdrant.query_points("c", query, prefetch=prefetch, limit=limit).points
        assert [hit.id for hit in hits] == expected


def test_a_filter_is_checked_before_the_index_of_a_facet_and_the_vectors_of_a_query(qdrant):
    least = models.MinShould(conditions=[], min_count=0)
    broken = models.Filter(min_should=least)
    for ask in (
        lambda: qdrant.facet("c", "none", facet_filter=broken),
        lambda: qdrant.query_points("c", [1.0], using="nope", query_filter=broken),
    ):
        with pytest.raises(Refused, match="min_count") as refused:
            ask()
        assert refused.value.status_code == 422


@pytest.mark.parametrize(
    ("query", "using", "message"),
    [
        ([1.0, 2.0], "s", r"a sparse vector is \[1.0, 2.0\], expected indices and values"),
        (
            models.SparseVector(indices=[*range(9)], values=[1.0] * 9),
            "dot",
            r'the query is {"indices": \[0, 1, 2, 3, …\], "values": \[1.0, 1.0, 1.0, 1.0, …\]}',
        ),
        ([[1.0], [2.0]], "dot", r"vector 'dot' is \[\[1.0\], \[2.0\]\], expected 2 numbers"),
    ],
)
def test_values_are_named_as_they_are_sent(qdrant, query, using, message):
    with pytest.raises(Refused, match=message):
        qdrant.query_points("c", query, using=using)


def test_groups_of_an_order_have_a_point_once(qdrant):
    qdrant.create_payload_index("c", "m", models.PayloadSchemaType.INTEGER)
    for i in range(1, 5):
        qdrant.set_payload("c", {"m": [i, i + 1], "g": "a"}, points=[i])
    order = models.OrderByQuery(order_by="m")
    for prefetch in (None, [models.Prefetch(query=[1.0, 0.0], using="dot", limit=10)]):
        found = qdrant.query_points_groups(
            "c", group_by="g", query=order, prefetch=prefetch, group_size=3
        )
        assert [hit.id for hit in found.groups[0].hits] == [1, 2, 3]


def test_lookups_ignore_groups_of_negative_numbers(qdrant):
    qdrant.set_payload("c", {"m": -5}, points=[1])
    qdrant.set_payload("c", {"m": 2}, points=[2])
    found = qdrant.query_points_groups(
        "c", group_by="m", query=[1.0, 0.0], using="dot", with_lookup="c"
    )
    looked_up = {group.id: group.lookup and group.lookup.id for group in found.groups}
    assert looked_up == {-5: None, 2: 2}


@pytest.mark.parametrize("prefix", ["URN:UUID:", "urn:uu\u0131d:"])
def test_an_invalid_uuid_is_refused_as_an_id(qdrant, prefix):
    name = "00000000-0000-0000-0000-00000000000A"
    assert qdrant.retrieve("c", [f"urn:uuid:{name}", prefix + name]) == []
    vector = {"dot": [1.0, 0.0]}
    qdrant.upsert("c", [models.PointStruct(id=f"urn:uuid:{name}", vector=vector)])
    assert len(qdrant.retrieve("c", [f"urn:uuid:{name}"])) == 1
    with pytest.raises(Refused, match="UUID"):
        qdrant.upsert("c", [models.PointStruct(id=prefix + name, vector=vector)])


def test_settings_of_a_graph_are_changed_one_by_one(qdrant):
    first = models.HnswConfigDiff(m=0, payload_m=16)
    params = models.VectorParams(size=2, distance=DOT, hnsw_config=first)
    qdrant.create_collection("d", params)
    change = models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(ef_construct=200))
    qdrant.update_collection("d", vectors_config={"": change})
    none = models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff())
    qdrant.update_collection("d", vectors_config={"": none})
    kept = qdrant.get_collection("d").config.params.vectors.hnsw_config
    assert (kept.m, kept.payload_m, kept.ef_construct) == (0, 16, 200)


def test_a_bound_near_zero_is_answered_on_an_index_of_integers(qdrant):
    qdrant.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER)
    for bound in (5e-324, 2.2250738585072014e-308, 1.5e-308):
        condition = models.FieldCondition(key="n", range=models.Range(gt=bound))
        assert qdrant.count("c", models.Filter(must=[condition])).count == 4


@pytest.mark.parametrize("key", ["a[", f"a[{'1' * 5_000}]"])
def test_a_key_that_is_none_is_refused_where_nothing_is_stored_too(qdrant, key):
    qdrant.create_collection("e", models.VectorParams(size=2, distance=DOT))
    for name in ("c", "e"):
        with pytest.raises(Refused):
            qdrant.facet(name, key)


def test_invalid_numbers_are_no_weights(qdrant):
    prefetch = [models.Prefetch(query=[1.0, 0.0], using="dot")] * 2
    rrf = models.RrfQuery(rrf=models.Rrf(weights=[1.0, float("nan")]))
    with pytest.raises(Refused, match="finite"):
        qdrant.query_points("c", prefetch=prefetch, query=rrf)


def test_an_example_that_is_in_many_pairs_is_compared_once(qdrant):
    scores = [0.9, 0.1, 0.5]
    elements = [models.FeedbackItem(example=i + 1, score=score) for i, score in enumerate(scores)]
    strategy = models.NaiveFeedbackStrategy(
        naive=models.NaiveFeedbackStrategyParams(a=0.5, b=1.0, c=2.0)
    )
    query = models.RelevanceFeedbackQuery(
        relevance_feedback=models.RelevanceFeedbackInput(
            target=[1.0, 0.0], feedback=elements, strategy=strategy
        )
    )
    (hit, *_) = qdrant.query_points("c", query=query, using="dot").points
    alike = [4.0 * (i + 1) for i in range(3)]  # of the point 4
    pairs = [(0, 1), (0, 2), (2, 1)]
    share = sum((scores[i] - scores[j]) * 2.0 * (alike[i] - alike[j]) for i, j in pairs)
    assert hit.score == pytest.approx(0.5 * 4.0 + share)
