"""Loading images and texts: real files of every kind, malicious ones, and refused addresses."""

import base64
import contextlib
import http.server
import io
import ipaddress
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from integrations.files.tests.readers import files
from retrieval_store import ImageLoader, TextLoader, plugins
from retrieval_store.errors import DataLoaderError, InvalidArgumentError
from retrieval_store.loaders.web import refuse_private
from tests.helpers import PATIENCE, steps

ACROSS, DOWN = np.arange(160) / 160, np.arange(120)[:, None] / 120
PHOTO = np.uint8(  # soft shapes in three colours, as a photo has
    255 * np.abs([np.sin(9 * ACROSS * DOWN), ACROSS + 0 * DOWN, np.cos(3 * ACROSS + 5 * DOWN)])
).transpose(1, 2, 0)


def saved(path, picture, **how):
    picture.save(path, **how)
    return str(path)


@pytest.mark.parametrize(
    ("name", "most"),
    [("a.png", 0), ("a.bmp", 0), ("a.tiff", 0), ("a.jpg", 12), ("a.webp", 14), ("a.gif", 40)],
)
def test_photos_of_every_kind_are_decoded_correctly(tmp_path, name, most):
    uri = saved(tmp_path / name, Image.fromarray(PHOTO))
    (loaded,) = ImageLoader()([uri])
    assert (loaded.shape, loaded.dtype) == (PHOTO.shape, np.uint8)
    assert np.abs(loaded.astype(int) - PHOTO.astype(int)).mean() <= most


def test_grey_palette_16_bit_cmyk_transparent_and_animated_images(tmp_path):
    grey = np.tile(np.arange(0, 250, dtype=np.uint8), (4, 1))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    clear = Image.new("RGBA", (3, 3), (255, 0, 0, 0))
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    load = ImageLoader()
    uris = [
        saved(tmp_path / "grey.png", Image.fromarray(grey)),
        saved(tmp_path / "deep.png", deep),
        saved(tmp_path / "deep.tiff", deep),
        saved(tmp_path / "palette.png", Image.fromarray(PHOTO).quantize(256)),
        saved(tmp_path / "cmyk.jpg", Image.new("CMYK", (6, 6), (0, 255, 255, 0)), quality=95),
        saved(tmp_path / "clear.png", clear),
        saved(tmp_path / "moving.gif", frames[0], save_all=True, append_images=frames[1:]),
    ]
    one, two, three, four, five, six, seven = load(uris)
    for found in (one, two, three):
        assert np.abs(found[..., 0].astype(int) - grey).max() <= 1
        assert (found[..., 0] == found[..., 2]).all()
    assert np.abs(four.astype(int) - PHOTO.astype(int)).mean() < 12
    assert np.abs(five[0, 0].astype(int) - [255, 0, 0]).max() < 30
    assert (six == 255).all()
    assert seven[0, 0].tolist() == [255, 0, 0]


def test_images_come_upright(tmp_path):
    picture = Image.fromarray(PHOTO)
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 270 degrees to see it upright
    uri = saved(tmp_path / "turned.png", turned, exif=exif)
    (loaded,) = ImageLoader()([uri])
    assert np.array_equal(loaded, PHOTO)


def test_paths_file_and_data_uris_and_none(tmp_path, monkeypatch):
    path = tmp_path / "a photo ü.png"
    uri = saved(path, Image.fromarray(PHOTO))
    data = base64.b64encode(path.read_bytes()).decode()
    monkeypatch.chdir(tmp_path)
    uris = [uri, path.as_uri(), path.name, f"data:image/png;base64,{data}", None]
    *images, nothing = ImageLoader()(uris)
    assert nothing is None
    assert all(np.array_equal(image, PHOTO) for image in images)
    assert ImageLoader()([]) == []
    with pytest.raises(DataLoaderError, match="another machine"):
        ImageLoader()(["file://server/share.png"])


def bomb(width, height):
    """A PNG whose header declares this many pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def hostile(folder):
    jpeg = io.BytesIO()
    Image.fromarray(PHOTO).save(jpeg, "JPEG")
    (folder / "bomb.png").write_bytes(bomb(50_000, 50_000))
    (folder / "cut.jpg").write_bytes(jpeg.getvalue()[: len(jpeg.getvalue()) // 2])
    (folder / "page.jpg").write_text("<html><body>not found</body></html>")
    (folder / "empty.png").write_bytes(b"")
    (folder / "large.png").write_bytes(os.urandom(3_000_000))
    os.mkfifo(folder / "pipe.png")
    return {
        "bomb.png": "2500000000 pixels",
        "cut.jpg": "no image that can be read",
        "page.jpg": "no image that can be read",
        "empty.png": "no image that can be read",
        "large.png": "larger than max_bytes, 2,000,000",
        "pipe.png": "no such file",
        "missing.png": "no such file",
        ".": "no such file",
    }


def test_unloadable_uris_are_an_error_with_the_uri_or_none(tmp_path):
    causes = hostile(tmp_path)
    load, skip = ImageLoader(max_bytes=2_000_000), ImageLoader(max_bytes=2_000_000, on_error="skip")
    for name, message in causes.items():
        with pytest.raises(DataLoaderError, match=message) as caught:
            load([str(tmp_path / name)])
        assert str(tmp_path / name) in str(caught.value)
    (good := tmp_path / "good.png").write_bytes(b"")
    Image.fromarray(PHOTO).save(good)
    loaded = skip([*(str(tmp_path / name) for name in causes), str(good), None])
    assert [item is None for item in loaded] == [True] * len(causes) + [False, True]
    for uri in ("file:///etc/passwd", "/etc/passwd"):
        with pytest.raises(DataLoaderError, match="no image"):
            load([uri])
    with pytest.raises(DataLoaderError, match="base64 is wrong"):
        load(["data:image/png;base64,###"])


def test_the_limit_on_pixels_can_be_set(tmp_path):
    uri = saved(tmp_path / "a.png", Image.fromarray(PHOTO))
    with pytest.raises(DataLoaderError, match="160 x 120 pixels, more than max_pixels, 10,000"):
        ImageLoader(max_pixels=10_000)([uri])


def test_an_extension_has_no_output(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(ImageLoader()([str(tmp_path / "a.jpg")])[0], PHOTO)


def test_nothing_outside_of_root_is_read(tmp_path):
    inside = tmp_path / "root"
    inside.mkdir()
    Image.fromarray(PHOTO).save(inside / "in.png")
    Image.fromarray(PHOTO).save(tmp_path / "out.png")
    (inside / "link.png").symlink_to(tmp_path / "out.png")
    load = ImageLoader(root=inside)
    assert load([str(inside / "in.png")])[0] is not None
    for uri in (inside / "link.png", inside / ".." / "out.png", tmp_path / "out.png"):
        for written in (str(uri), f"file://{uri}"):
            with pytest.raises(DataLoaderError, match="outside of root"):
                load([written])


@pytest.fixture
def server(tmp_path):
    """A web server on this machine with a photo, redirects, a slow and an endless response."""
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    content, stop = (tmp_path / "photo.png").read_bytes(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            redirects = {
                "/hop": "/photo.png",
                "/to-file": "file:///etc/passwd",
                "/to-ftp": "ftp://127.0.0.1/x",
                "/loop": "/loop",
            }
            if self.path in redirects:
                self.send_response(302)
                self.send_header("Location", redirects[self.path])
                self.end_headers()
                return
            self.send_response(200 if self.path != "/gone" else 404)
            if self.path == "/broken-off":
                self.send_header("Content-Length", str(len(content) + 1))
            self.end_headers()
            if self.path in ("/photo.png", "/broken-off"):
                self.wfile.write(content)
            elif self.path == "/slow":
                stop.wait()
            elif self.path == "/endless":
                with contextlib.suppress(OSError):
                    while not stop.is_set():
                        self.wfile.write(bytes(65_536))

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    stop.set()
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_partial_response_is_not_used_as_the_whole(server):
    load = ImageLoader(schemes=("http",), private_addresses=True)
    assert load([f"{server}/photo.png"])[0].shape == PHOTO.shape
    with pytest.raises(DataLoaderError, match=r"broke off after [\d,]+ of [\d,]+ bytes"):
        load([f"{server}/broken-off"])


def test_schemes_may_be_an_iterator(server):
    load = ImageLoader(schemes=(scheme for scheme in ["http"]), private_addresses=True)
    assert load([f"{server}/photo.png"])[0].shape == PHOTO.shape


def test_data_urls_have_no_pages(tmp_path):
    with pytest.raises(DataLoaderError, match="no image that can be read"):
        ImageLoader()(["data:,%25PDF-1.4%25%25EOF.pdf#page=1"])


def test_a_page_may_be_drawn_by_a_users_function(tmp_path):
    (tmp_path / "scan.pdf").write_bytes(b"%PDF of somebody")
    query, drawn = [], io.BytesIO()
    Image.fromarray(PHOTO).save(drawn, "PNG")

    def draw(data, number):
        query.append((data, number))
        if number > 3:
            raise DataLoaderError("there is no such page")
        return drawn.getvalue()

    load = ImageLoader(root=tmp_path, draw=draw)
    assert (load(["scan.pdf#page=3"])[0] == PHOTO).all()
    assert query == [(b"%PDF of somebody", 3)]
    with pytest.raises(DataLoaderError, match="no such page"):
        load(["scan.pdf#page=4"])
    with pytest.raises(DataLoaderError, match="max_pixels|pixels"):
        ImageLoader(root=tmp_path, draw=draw, max_pixels=10)(["scan.pdf#page=3"])


@pytest.mark.parametrize("encoding", ["hex", "rot13", "undefined", "nope", None, 5])
def test_an_encoding_is_one_of_texts(encoding):
    with pytest.raises(InvalidArgumentError, match="encoding is"):
        TextLoader(encoding=encoding)


def test_the_web_is_followed_only_when_listed_and_not_into_private_networks(server):
    with pytest.raises(DataLoaderError, match="scheme 'http' isn't allowed"):
        ImageLoader()([f"{server}/photo.png"])
    public = ImageLoader(schemes=("http", "https"))
    for address in (server, server.replace("127.0.0.1", "localhost")):
        with pytest.raises(DataLoaderError, match=r"address 127\.0\.0\.1, which isn't public"):
            public([f"{address}/photo.png"])
    with pytest.raises(DataLoaderError, match="isn't public"):
        public([server.replace("http:", "https:") + "/photo.png"])
    load = ImageLoader(
        schemes=("http",), private_addresses=True, timeout=PATIENCE, max_bytes=2_000_000
    )
    assert np.array_equal(load([f"{server}/photo.png"])[0], PHOTO)
    assert np.array_equal(load([f"{server}/hop"])[0], PHOTO)
    for path, message in {
        "/gone": "404",
        "/to-file": "'file:///etc/passwd' is not allowed",
        "/to-ftp": "redirects to 'ftp:",
        "/loop": "redirect",
        "/endless": "larger than max_bytes",
    }.items():
        with pytest.raises(DataLoaderError, match=message):
            load([server + path])
    hurried = ImageLoader(schemes=("http",), private_addresses=True, timeout=0.5)
    with pytest.raises(DataLoaderError, match="took longer than timeout, 0.5 s"):
        hurried([f"{server}/slow"])
    with pytest.raises(DataLoaderError, match="can't be loaded"):
        load(["http://127.0.0.1:1/closed.png"])


def test_a_redirect_to_a_private_address_is_refused(server, monkeypatch):
    """The first address counts as public here, but the redirect's target doesn't."""
    seen = []

    def refuse_second(address):
        seen.append(address)
        if len(seen) > 1:
            raise DataLoaderError("its server has the address 127.0.0.1, which isn't public")

    steps.replace(monkeypatch, "refuse_private", refuse_second)
    with pytest.raises(DataLoaderError, match="isn't public"):
        ImageLoader(schemes=("http",))([f"{server}/hop"])
    assert len(seen) == 2


def test_other_schemes_go_through_fsspec_when_listed(tmp_path):
    import fsspec

    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    with fsspec.open("memory://images/a.png", "wb") as file:
        file.write((tmp_path / "a.png").read_bytes())
    assert np.array_equal(ImageLoader(schemes=("memory",))(["memory://images/a.png"])[0], PHOTO)
    with pytest.raises(DataLoaderError, match="isn't allowed"):
        ImageLoader()(["memory://images/a.png"])
    with pytest.raises(DataLoaderError, match="can't be loaded"):
        ImageLoader(schemes=("memory",))(["memory://images/none.png"])


def test_many_are_loaded_by_threads_in_order(tmp_path):
    uris = []
    for i in range(20):
        uris.append(saved(tmp_path / f"{i}.png", Image.new("RGB", (2, 2), (i, 0, 0))))
    for threads in (1, 8):
        loaded = ImageLoader(threads=threads)([*uris, None])
        assert [None if x is None else int(x[0, 0, 0]) for x in loaded] == [*range(20), None]


def test_texts_are_loaded_too(tmp_path):
    (tmp_path / "a.txt").write_text("Grüße", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("Grüße".encode("latin-1"))
    uris = [str(tmp_path / "a.txt"), None, "data:text/plain,hello%20there"]
    assert TextLoader()(uris) == ["Grüße", None, "hello there"]
    with pytest.raises(DataLoaderError, match=r"b\.txt.*isn't a text in utf-8"):
        TextLoader()([str(tmp_path / "b.txt")])
    assert TextLoader(encoding="latin-1")([str(tmp_path / "b.txt")]) == ["Grüße"]
    loader = plugins.load(plugins.DATA_LOADERS, "texts")()
    assert loader(uris[:1]) == ["Grüße"]


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(InvalidArgumentError, match="expected several"):
        ImageLoader(schemes="https")
    with pytest.raises(InvalidArgumentError, match="on_error is 'ignore'"):
        ImageLoader(on_error="ignore")


# in collections


def colours(input):
    """The mean colours of images, and the named colours of texts."""
    named = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    return [
        [c / 255 for c in named.get(x, (9, 9, 9))] if isinstance(x, str) else x.mean((0, 1)) / 255
        for x in input
    ]


def pictures(folder):
    return {
        colour: saved(folder / f"{colour}.png", Image.new("RGB", (4, 4), colour))
        for colour in ("red", "green", "blue")
    }


def test_the_multimodal_guide_step_by_step(client, tmp_path):
    uris = pictures(tmp_path)
    collection = client.create_collection(
        "multimodal", embedding_function=colours, data_loader=ImageLoader()
    )
    red, green = ImageLoader()([uris["red"], uris["green"]])
    collection.add(ids=["r1", "g1"], images=[red, green], metadatas=[{"n": 1}, {"n": 2}])
    collection.add(ids=["r2", "b2"], uris=[uris["red"], uris["blue"]])
    collection.add(ids=["t"], documents=["blue"])
    by_image = collection.query(query_images=[red], n_results=2, include=["uris", "data"])
    assert sorted(by_image["ids"][0]) == ["r1", "r2"]
    with_uri = by_image["ids"][0].index("r2")
    assert by_image["uris"][0][with_uri] == uris["red"]
    assert np.array_equal(by_image["data"][0][with_uri], red)
    assert by_image["data"][0][1 - with_uri] is None  # images themselves are never stored
    assert sorted(collection.query(query_texts="blue", n_results=2)["ids"][0]) == ["b2", "t"]
    assert collection.query(query_uris=uris["green"], n_results=1)["ids"] == [["g1"]]
    got = collection.get(ids=["r2"], include=["data", "uris"])
    assert np.array_equal(got["data"][0], red)
    collection.update(ids="t", images=[green])
    assert collection.get(ids="t")["documents"] == [None]
    assert sorted(collection.query(query_images=[green], n_results=2)["ids"][0]) == ["g1", "t"]
    collection.update(ids="r2", uris=[uris["green"]])
    found = collection.query(query_images=[green], n_results=3)
    assert sorted(found["ids"][0]) == ["g1", "r2", "t"]
    with pytest.raises(InvalidArgumentError, match="more than one of document, image and uri"):
        collection.add(ids="x", documents="a", images=[red])
    given = [uris["blue"]]
    collection.upsert(ids=["n"], uris=given)
    assert given == [uris["blue"]]
    with pytest.raises(DataLoaderError, match=r"missing\.png"):
        collection.add(ids=["a", "b"], uris=[uris["red"], str(tmp_path / "missing.png")])
    assert collection.count() == 6


def test_one_missing_uri_does_not_spoil_a_read_that_skips(client, tmp_path):
    uris = pictures(tmp_path)
    collection = client.create_collection(
        "multimodal", embedding_function=colours, data_loader=ImageLoader(on_error="skip")
    )
    collection.add(ids=["r", "b"], uris=[uris["red"], uris["blue"]])
    os.unlink(uris["red"])
    got = collection.get(include=["data"])
    assert [item is None for item in got["data"]] == [True, False]


def test_a_chain_of_file_systems_is_not_followed(server, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("secret.txt", "secret")
    load = TextLoader(schemes=("zip",), root=tmp_path / "nowhere")
    for inner in (f"file://{tmp_path}/s.zip", f"{server}/s.zip"):
        with pytest.raises(DataLoaderError, match="chain of file systems"):
            load([f"zip://secret.txt::{inner}"])


def test_private_addresses_are_not_even_connected_to(server, monkeypatch):
    connected = []
    create = __import__("socket").create_connection
    monkeypatch.setattr(
        "socket.create_connection", lambda *a, **k: connected.append(a) or create(*a, **k)
    )
    load = ImageLoader(schemes=("http", "https", "ftp"))
    port = server.rpartition(":")[2]
    for host in ("127.0.0.1", "2130706433", "0", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
        with pytest.raises(DataLoaderError, match="isn't public|can't be loaded"):
            load([f"http://{host}:{port}/photo.png"])
    assert connected == []


NOT_PUBLIC = """
    0.0.0.0 0.255.255.255 10.0.0.0 10.1.2.3 10.255.255.255 100.64.0.1 100.127.255.255
    127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.1 172.31.255.255
    192.0.0.0 192.0.0.7 192.0.0.8 192.0.0.11 192.0.0.170 192.0.0.171 192.0.0.255
    192.0.2.1 192.88.99.1 192.88.99.2 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:192.0.0.8 ::ffff:0:7f00:1 ::ffff:0:808:808
    ::7f00:1 ::808:808 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 64:ff9b:1::a00:1
    100::1 100:0:0:1::1 200::1 400::1 800::1 1000::1 1fff:ffff::1
    2001::1 2001:0:7f00:1:: 2001:1:: 2001:1::4 2001:2::1 2001:4:111:: 2001:4:113::
    2001:10::1 2001:1f:ffff::1 2001:40::1 2001:1ff:ffff::1 2001:db8::1
    2002:7f00:1:: 2002:808:808:: 3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 6000::1 8000::1
    fc00::1 fdff::1 fe00::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1
"""

PUBLIC = """
    1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0
    192.0.0.9 192.0.0.10 192.0.1.0 192.31.196.1 192.52.193.1 192.88.98.1 192.175.48.1
    198.17.255.255 198.20.0.0 223.255.255.255
    ::ffff:8.8.8.8 ::ffff:192.0.0.9 64:ff9b::808:808
    2001:1::1 2001:1::2 2001:1::3 2001:3::1 2001:4:112::1 2001:20::1 2001:2f::1 2001:30::1
    2001:200::1 2001:4860:4860::8888 2003::1 2606:4700:4700::1111
    2606:2800:220:1:248:1893:25c8:1946 2620:4f:8000::1 2a00:1450:4001::1 3fff:1000::1
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_addresses_that_are_not_public_in_every_guise(address):
    with pytest.raises(DataLoaderError, match="isn't public"):
        refuse_private(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_those_that_can_be_reached_from_everywhere(address):
    refuse_private(address)


def test_all_addresses_that_the_standard_library_calls_private_are_refused():
    """Except for addresses that IANA has since declared globally reachable, as newer versions of
    the library know."""
    tables = [ipaddress._IPv4Constants, ipaddress._IPv6Constants]
    for network in [network for table in tables for network in table._private_networks]:
        for address in {network[0], network[-1]}:
            with pytest.raises(DataLoaderError, match="isn't public"):
                refuse_private(str(address))


def test_deep_images_keep_their_scale(tmp_path):
    dark = np.full((3, 3), 255, np.uint16)
    lighter = dark.copy()
    lighter[0, 0] = 256
    uris = [
        saved(tmp_path / "dark.png", Image.fromarray(dark)),
        saved(tmp_path / "lighter.png", Image.fromarray(lighter)),
        saved(
            tmp_path / "float.tiff", Image.fromarray(np.array([[0, 0.5], [1, np.nan]], np.float32))
        ),
        saved(
            tmp_path / "clear.png",
            Image.fromarray(np.array([[0, 60_000]], np.uint16)),
            transparency=0,
        ),
    ]
    one, two, three, four = ImageLoader()(uris)
    assert one.max() == two.max() == 0
    assert three[..., 0].tolist() == [[0, 127], [255, 0]]
    assert four[0, :, 0].tolist() == [255, 233]
    assert one.flags.writeable


def test_one_invalid_uri_does_not_spoil_the_others(tmp_path):
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    uri = saved(tmp_path / "good.png", Image.fromarray(PHOTO))
    odd = ["http://[::1", str(loop), "nope://x", "a\0b", "x" * 5_000, "zip://::", "data:x"]
    load = ImageLoader(on_error="skip", root=tmp_path, schemes=("http", "s3", "zip"))
    loaded = load([*odd, "s3://bucket/x.png", uri])
    assert [item is None for item in loaded] == [True] * (len(odd) + 1) + [False]


def test_skipped_inputs_are_never_embedded(client, tmp_path):
    uris = pictures(tmp_path)
    things = client.create_collection(
        "things", embedding_function=colours, data_loader=ImageLoader(on_error="skip")
    )
    things.add(ids="a", uris=uris["red"])
    with pytest.raises(DataLoaderError, match="query_uris"):
        things.query(query_uris=str(tmp_path / "none.png"))
    for write in (things.add, things.upsert, things.update):
        assert write(ids=["b"], uris=[str(tmp_path / "none.png")]) == {"left_out": ["b"]}
    assert things.count() == 1


def test_omitted_images_are_reported_and_the_others_are_written(client, tmp_path, caplog):
    uris, gone = pictures(tmp_path), str(tmp_path / "none.png")
    things = client.create_collection(
        "things", embedding_function=colours, data_loader=ImageLoader(on_error="skip")
    )
    result = things.add(
        ["a", "b", "c", "d"],
        uris=[uris["red"], gone, None, uris["blue"]],
        documents=[None, None, "green", None],
        metadatas=[{"n": i} for i in range(4)],
    )
    assert result == {"left_out": ["b"]}
    assert "left out: 1, such as 'b'" in caplog.text
    got = things.get(include=["metadatas", "uris", "documents"])
    assert got["ids"] == ["a", "c", "d"]
    assert got["metadatas"] == [{"n": 0}, {"n": 2}, {"n": 3}]
    assert got["uris"] == [uris["red"], None, uris["blue"]]
    assert things.update(["a", "d"], uris=[gone, uris["red"]]) == {"left_out": ["a"]}
    assert things.get()["ids"] == ["a", "c", "d"]
    assert things.add("e", uris=uris["red"]) == {"left_out": []}
    records = [{"id": str(i), "uri": uris["red"] if i % 2 else gone} for i in range(7)]
    assert things.add_from(records, batch=2) == 3
    assert things.count() == 7


def test_relative_paths_are_searched_below_root_and_then_in_the_working_directory(
    tmp_path, monkeypatch
):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "root-beside").mkdir()
    (root / "a" / "x.txt").write_text("of root")
    (root / "y.txt").write_text("of root, by here")
    (tmp_path / "out.txt").write_text("outside")
    monkeypatch.chdir(tmp_path)
    load = TextLoader(root="root")
    assert load(["a/x.txt", "root/y.txt", "a/../y.txt"]) == [
        "of root",
        "of root, by here",
        "of root, by here",
    ]
    (root / "root").mkdir()
    (root / "root" / "y.txt").write_text("below root first")
    assert load(["root/y.txt"]) == ["below root first"]
    for missing in ("out.txt", "nowhere.txt", "a/nowhere.txt"):  # of which here is the first alone
        with pytest.raises(DataLoaderError, match="no such file below root root, where") as raised:
            load([missing])
        assert "lies outside" not in str(raised.value)
    for outside in (
        "../root-beside/x.txt",
        "a/../../out.txt",
        str(tmp_path / "out.txt"),
    ):
        with pytest.raises(DataLoaderError, match="outside of root root; relative .* below root"):
            load([outside])
    (root / "link.txt").symlink_to(tmp_path / "out.txt")
    with pytest.raises(DataLoaderError, match="outside of root"):
        load(["link.txt"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0}, {"max_bytes": "1"}, {"timeout": -1}, {"timeout": "1"},
        {"timeout": float("nan")}, {"timeout": float("inf")}, {"threads": 0}, {"threads": 2.5},
        {"private_addresses": "no"}, {"on_error": "pass"}, {"schemes": "https"}, {"schemes": 3},
        {"root": 3},
    ],
)  # fmt: skip
def test_limits_that_are_none_are_refused(wrong):
    (name,) = wrong
    for loader in (ImageLoader, TextLoader):
        with pytest.raises(InvalidArgumentError, match=f"{name} is "):
            loader(**wrong)
    with pytest.raises(InvalidArgumentError, match="max_pixels is 0"):
        ImageLoader(max_pixels=0)


@pytest.mark.others
def test_a_page_of_a_pdf_is_an_image(tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(files.pdf("typed", files.PICTURE))
    load = ImageLoader(threads=4)
    pages = load([f"{path}#page={1 + i % 2}" for i in range(16)])
    assert {page.shape for page in pages} == {(1_000, 750, 3)}
    assert pages[0].mean() > pages[1].mean() == pages[3].mean()  # text, a grey picture
    for most in (1, 10, 7_501, 300_000):
        (small,) = ImageLoader(max_pixels=most)([f"{path}#page=1"])
        height, width, _ = small.shape
        assert 0.7 * most <= height * width <= most
    for uri, why in (
        (f"{path}#page=3", "its page 3 can't be drawn"),
        (f"{path}#page=0", "its page 0 can't be drawn"),
        (f"{tmp_path / 'gone.pdf'}#page=1", "no such file"),
    ):
        with pytest.raises(DataLoaderError, match=why):
            load([uri])
