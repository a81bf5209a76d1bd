"""A store served over TLS: its certificate is checked, and all requests go over HTTPS."""

import shutil
import subprocess

import pytest

import retrieval_store
from integrations.server.tests.http.serving import served
from retrieval_store.errors import UnavailableError
from tests.helpers.tuned import tuned

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes certificates"
)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def test_encrypted_requests_give_the_same(tmp_path, certificate, monkeypatch):
    cert, key = certificate
    words = (tmp_path / "store", "--tls-cert", cert, "--tls-key", key)
    with served(*words, cwd=tmp_path) as (_, url):
        assert url.startswith("https://")
        with retrieval_store.Client(url=url, verify=str(cert)) as client:
            things = client.create_collection("things", embedding_function=None)
            things.add(ids=["a", "b"], embeddings=[[1, 0], [0, 1]])
            assert things.query(query_embeddings=[0, 1], n_results=1)["ids"] == [["b"]]
            assert len(list(things.iterate(batch=1))) == 2
            client.snapshot(tmp_path / "s.zip")
        address = {"port": int(url.rpartition(":")[2]), "ssl": True, "verify": str(cert)}
        async with await retrieval_store.AsyncHttpClient("127.0.0.1", **address) as client:
            there = await client.get_collection("things")
            assert await there.count() == 2
        with retrieval_store.Client(url=url, verify=False) as client:
            assert client.count_collections() == 1
        tuned(monkeypatch, server_patience=0.1)
        for given, message in (
            (url, "isn't trusted"),
            (url.replace("https", "http"), "is it https"),
        ):
            with (
                retrieval_store.Client(url=given) as client,
                pytest.raises(UnavailableError, match=message),
            ):
                client.count_collections()
