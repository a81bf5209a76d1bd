"""The server's reports about itself, and the page that reads them."""

import re

import pytest
from qdrant_client.http import models

from integrations.server.tests.http.asked import Asking
from retrieval_store.errors import InvalidArgumentError
from retrieval_store_server import Application, app
from retrieval_store_server.http.request import Count
from retrieval_store_server.http.settings import ServerSettings

SAMPLE = re.compile(r'^(\w+)(\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})? (-?[\d.e+-]+|\+Inf|NaN)$')


@pytest.fixture
def ask(tmp_path):
    asks = Asking(app(tmp_path / "store", durability="relaxed"))
    vectors = {"dense": {"size": 4, "distance": "Cosine"}}
    asks("PUT", "/collections/c", {"vectors": vectors, "sparse_vectors": {"sparse": {}}})
    points = [{"id": i, "vector": {"dense": [1, i, 0, 0]}, "payload": {"n": i}} for i in range(5)]
    assert asks("PUT", "/collections/c/points?wait=true", {"points": points}).status == 200
    yield asks
    asks.close()


def metrics_of(ask):
    answer = ask("GET", "/metrics")
    assert answer.type == "text/plain; charset=utf-8"
    found, kinds = {}, {}
    for line in answer.body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            assert name in kinds or re.sub("_(bucket|sum|count)$", "", name) in kinds
            found[name + (labels or "")] = float(value)
    return found


def test_metrics_count_collections_points_and_answers(ask):
    ask("POST", "/collections/c/points/count", {})
    ask("POST", "/collections/c/points/count", {})
    ask("GET", "/collections/nothing")
    found = metrics_of(ask)
    assert found["collections_total"] == 1
    assert found['collection_points{id="c"}'] == 5
    count = 'method="POST",endpoint="/collections/{collection_name}/points/count",status="200"'
    assert found[f"rest_responses_total{{{count}}}"] == 2
    least = found[f"rest_responses_min_duration_seconds{{{count}}}"]
    most = found[f"rest_responses_max_duration_seconds{{{count}}}"]
    assert 0 < least <= found[f"rest_responses_avg_duration_seconds{{{count}}}"] <= most
    assert found[f'rest_responses_duration_seconds_bucket{{{count},le="+Inf"}}'] == 2
    missing = 'method="GET",endpoint="/collections/{collection_name}",status="404"'
    assert found[f"rest_responses_total{{{missing}}}"] == 1
    assert found["memory_resident_bytes"] > 1e7
    assert found["process_threads"] >= 1
    assert found["process_open_fds"] > 3


def test_large_numbers_are_exact_to_the_last_digit(ask, monkeypatch):
    counted = [("GET /collections", 200, Count(1_234_567, 1.0, 0.1, 0.1))]
    monkeypatch.setattr(ask.application.served.monitor, "counts", lambda: counted)
    labels = 'method="GET",endpoint="/collections",status="200"'
    assert metrics_of(ask)[f"rest_responses_total{{{labels}}}"] == 1_234_567


def test_collections_that_are_deleted_meanwhile_or_bound_their_readers_are_no_failure(ask):
    strict = {"enabled": True, "read_rate_limit": 1}
    assert ask("PUT", "/collections/bounded", {"strict_mode_config": strict}).status == 200
    for _ in range(3):
        assert metrics_of(ask)['collection_points{id="bounded"}'] == 0
    store = ask.application.served.store
    page = store.page

    def page_and_delete(*args):
        found = page(*args)
        ask.application.served.embedded.delete_collection("bounded")
        return found

    store.page = page_and_delete
    try:
        assert metrics_of(ask)["collections_total"] == 1
    finally:
        del store.page


def test_unknown_paths_are_counted_together(ask):
    for i in range(20):
        ask("GET", f"/nothing/{i}")
    found = metrics_of(ask)
    unknown = 'method="GET",endpoint="unknown",status="404"'
    assert found[f"rest_responses_total{{{unknown}}}"] == 20


def test_a_collection_reports_its_content(ask):
    reported = ask("GET", "/collections/c/memory").json["result"]
    assert {one["name"] for one in reported["vectors"]} == {"dense"}
    assert {one["name"] for one in reported["sparse_vectors"]} == {"sparse"}
    assert reported["total"]["disk_bytes"] > reported["payload"]["disk_bytes"] > 0
    assert reported["total"]["ram_bytes"] == sum(
        one["ram_bytes"] for one in reported["other"].values()
    )
    assert ask("GET", "/collections/nothing/memory").status == 404


def test_quotas_are_none_and_none_can_be_set(ask):
    model = models.QuotaStatus.model_validate(ask("GET", "/quotas").json["result"])
    assert model.config.enabled is False
    assert ask("PUT", "/quotas", {"enabled": False}).status == 200
    assert ask("PUT", "/quotas", {"enabled": True}).status == 400
    assert ask("PUT", "/quotas", {"max_disk_usage_percent": 5}).status == 400


def test_only_a_page_is_served_at_dashboard(tmp_path):
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>page</h1>")
    (folder / "assets" / "a.js").write_text("1")
    (tmp_path / "secret").write_text("secret")
    ask = Asking(Application(":memory:", ServerSettings(keys=("k",), dashboard=folder)))
    assert ask("GET", "/dashboard/").body == b"<h1>page</h1>"  # which asks for the key itself
    assert ask("GET", "/dashboard/assets/a.js").type.startswith(("text/javascript", "application/"))
    for path in ("/dashboard/../secret", "/dashboard/%2e%2e/secret", "/dashboard/..%2fsecret"):
        answer = ask("GET", path)
        assert answer.status in (401, 404)
        assert b"secret" not in answer.body
    assert ask("POST", "/dashboard/").status == 404
    ask.close()


def test_a_page_must_be_a_folder(tmp_path):
    with pytest.raises(InvalidArgumentError, match="no folder"):
        Application(":memory:", ServerSettings(dashboard=tmp_path / "nothing"))


def test_answers_are_counted_by_collection_on_request(ask):
    ask("PUT", "/collections/other", {"vectors": {"size": 2, "distance": "Dot"}})
    for name in ("c", "c", "other", "missing"):
        ask("POST", f"/collections/{name}/points/count", {})
    counted = 'method="POST",endpoint="/collections/{collection_name}/points/count"'
    lines = ask("GET", "/metrics?per_collection=true").body.decode().splitlines()
    assert f'rest_responses_total{{{counted},status="200",collection="c"}} 2' in lines
    assert f'rest_responses_total{{{counted},status="200",collection="other"}} 1' in lines
    assert f'rest_responses_total{{{counted},status="404"}} 1' in lines
    assert metrics_of(ask)[f'rest_responses_total{{{counted},status="200"}}'] == 3
    rest = ask("GET", "/telemetry?per_collection=true").json["result"]["requests"]["rest"]
    route = "POST /collections/{collection_name}/points/count"
    assert rest["responses"][route]["200"]["count"] == 3
    assert rest["per_collection_responses"]["c"][route]["200"]["count"] == 2
    assert "per_collection_responses" not in ask("GET", "/telemetry").json["result"]["requests"]


def test_telemetry_has_more_of_collections_at_higher_detail(ask):
    def of(level):
        result = ask("GET", f"/telemetry?details_level={level}").json["result"]
        (collection,) = result["collections"].get("collections", [None])
        return result, collection

    result, collection = of(0)
    assert collection is None
    assert "memory" not in result
    result, collection = of(1)
    assert result["memory"]["resident_bytes"] > 1e7
    assert collection == {"vectors": 5, "optimizers_status": "ok", "params": {}}
    _, collection = of(2)
    assert collection["id"] == "c"
    assert collection["config"]["params"]["vectors"]["dense"]["size"] == 4
    _, collection = of(3)
    (shard,) = collection["shards"]
    assert shard["local"]["num_points"] == 5
    assert shard["local"]["num_vectors_by_name"] == {"dense": 5, "sparse": 0}
    assert shard["local"]["update_queue"] == {"length": 0, "op_num": 1}
    _, collection = of(10)
    (segment,) = collection["shards"][0]["local"]["segments"]
    assert segment["info"]["num_points"] == 5


def test_invented_and_deleted_names_are_not_cached(ask):
    for i in range(30):
        ask("GET", f"/collections/made-up-{i}/exists")
        ask("DELETE", f"/collections/made-up-{i}")
    ask("PUT", "/collections/gone", {"vectors": {"size": 2, "distance": "Dot"}})
    ask("POST", "/collections/gone/points/count", {})
    assert 'collection="gone"' in ask("GET", "/metrics?per_collection=true").body.decode()
    ask("DELETE", "/collections/gone")
    shown = ask("GET", "/metrics?per_collection=true").body.decode()
    assert "made-up" not in shown
    assert 'collection="gone"' not in shown
    assert 'collection="c"' in shown
