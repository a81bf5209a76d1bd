"""Loaders under attack: slow servers, changing links, endless files, and pictures larger than they
look.
"""

import contextlib
import io
import itertools
import os
import random
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import Future

import pytest
from PIL import Image, PngImagePlugin

from retrieval_store import ImageLoader, TextLoader
from retrieval_store.errors import DataLoaderError
from retrieval_store.loaders.images import DECODING, Quota
from tests.helpers import PATIENCE, steps
from tests.helpers.forks import in_child

TIMEOUT = 0.5  # what dawdles here does so for ever, so only who keeps to it comes back
TOO_LATE = "took longer than timeout, 0.5 s"


def in_time(work):
    """The result or error of `work`, which must not hang."""
    promised = Future()

    def keep():
        try:
            promised.set_result(work())
        except BaseException as error:
            promised.set_exception(error)

    threading.Thread(target=keep, daemon=True).start()
    return promised.result(PATIENCE)


def refused_in_time(load, uri, message=TOO_LATE):
    with pytest.raises(DataLoaderError, match=message):
        in_time(lambda: load([uri]))


def web(timeout=TIMEOUT):
    return TextLoader(schemes=("http", "https"), private_addresses=True, timeout=timeout, threads=1)


# servers that dawdle


class Dawdler:
    """A server on this machine that sends each connection the same pieces, slowly."""

    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.stop = threading.Event()
        self.sent = 0
        self.threads = []

    def serve(self, first, drip, pause=0.1, wrap=None):
        accepting = threading.Thread(target=self._accept, args=(first, drip, pause, wrap))
        accepting.start()
        self.threads.append(accepting)
        return f"127.0.0.1:{self.port}"

    def _accept(self, *script):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                talking = threading.Thread(target=self._talk, args=(connection, *script))
                talking.start()
                self.threads.append(talking)

    def _talk(self, connection, first, drip, pause, wrap):
        with contextlib.suppress(OSError), connection:
            connection.recv(0 if first is None else 1, socket.MSG_PEEK)
            with wrap(connection) if wrap else connection as stream:
                if wrap or first is not None:
                    stream.recv(65_536)
                stream.sendall(first or b"")
                while not self.stop.wait(pause):
                    stream.sendall(drip)
                    self.sent += len(drip)

    def close(self):
        self.stop.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def dawdler():
    server = Dawdler()
    yield server
    server.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DAWDLING = {
    "before the status line": (b"", b""),
    "in the status line": (b"HTTP/1.1 200 ", b"O"),
    "in headers": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "in 100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "in the headers of 100 Continue": (b"HTTP/1.1 100 Continue\r\nX: ", b"x"),
    "in a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"x"),
    "in a body without an end": (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "in chunks": (CHUNKED, b"1\r\nx\r\n"),
    "in the size of a chunk": (CHUNKED + b"1;", b"x"),
    "in trailers": (CHUNKED + b"1\r\nx\r\n0\r\n", b"X: x\r\n"),
    "in the body of a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 1000000000\r\n\r\n",
        b"x",
    ),
}


@pytest.mark.parametrize("where", DAWDLING)
def test_a_server_that_drips_is_left_when_the_time_is_over(dawdler, where):
    first, drip = DAWDLING[where]
    refused_when_it_dawdles(where, f"http://{dawdler.serve(first, drip)}/x")


def refused_when_it_dawdles(where, uri):
    """The body of a redirect isn't read, so only the redirects cause the refusal."""
    if "redirect" in where:
        refused_in_time(web(PATIENCE), uri, "infinite loop")
    else:
        refused_in_time(web(), uri)


def test_a_chain_of_slow_redirects_is_left_when_the_time_is_over(dawdler):
    """Each redirect takes less than the timeout, and leads to another address."""

    def hop(connection):
        query = int(connection.recv(65_536, socket.MSG_PEEK).split()[1].strip(b"/"))
        time.sleep(0.3)
        head = f"HTTP/1.1 302 Found\r\nLocation: /{query + 1}\r\n\r\n".encode()
        connection.sendall(head)
        return connection

    refused_in_time(web(), f"http://{dawdler.serve(b'', b'', wrap=hop)}/1")


def test_the_body_of_a_redirect_is_not_read(dawdler):
    """Not even a fast body, which may be endless and stay in memory."""
    head = b"HTTP/1.1 302 Found\r\nLocation: file:///x\r\n\r\n"
    address = dawdler.serve(head.replace(b"file:///", b"http://127.0.0.1:1/"), bytes(1 << 24), 0)
    with pytest.raises(DataLoaderError, match="can't be loaded"):
        web()([f"http://{address}/x"])
    assert dawdler.sent <= 1 << 24


def test_a_server_that_drips_its_handshake_is_left_when_the_time_is_over(dawdler):
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"  # the start of a long ServerHello
    refused_in_time(web(), f"https://{dawdler.serve(record, b'x')}/x")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A server's key and certificate, created here."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "made.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*new, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@pytest.mark.parametrize("where", DAWDLING)
def test_nor_does_one_get_longer_by_speaking_tls(dawdler, certificate, monkeypatch, where):
    made, key = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    first, drip = DAWDLING[where]
    address = dawdler.serve(first, drip, wrap=lambda c: context.wrap_socket(c, server_side=True))
    refused_when_it_dawdles(where, f"https://{address}/x")


def test_a_hanging_name_lookup_ends_at_the_timeout(monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: stop.wait() and [])
    try:
        refused_in_time(web(), "http://slow.test/x")
    finally:
        stop.set()


def test_all_addresses_of_a_name_share_the_time(monkeypatch):
    """A thousand addresses that don't answer: a listening socket with a full queue."""
    look_up = socket.getaddrinfo
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: (
                [found] * 1_000 if host == "many.test" else look_up(host, *a, **k)
            ),
        )
        refused_in_time(web(), f"http://many.test:{full.getsockname()[1]}/x")


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch):
    connect, look_up, given = socket.create_connection, socket.getaddrinfo, {}
    with socket.create_server(("127.0.0.2", 0)) as answering:
        port = answering.getsockname()[1]

        def answer():
            connection, _ = answering.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

        def connecting(address, seconds):
            given[address[0]] = seconds
            if address[0] == "127.0.0.1":
                raise TimeoutError  # when so many seconds would be over
            return connect(address, seconds)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.1", "127.0.0.2")
        ]
        monkeypatch.setattr(socket, "create_connection", connecting)
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: found if host == "two.test" else look_up(host, *a, **k),
        )
        assert web(PATIENCE)([f"http://two.test:{port}/x"]) == ["hi"]
        thread.join()
    assert 0 < given["127.0.0.1"] <= PATIENCE / 2
    assert PATIENCE / 2 < given["127.0.0.2"] <= PATIENCE


def test_an_address_longer_than_servers_take_is_not_sent():
    """A slow server could otherwise block for a long time while the address is sent."""
    with pytest.raises(DataLoaderError, match="16,000"):
        web()(["http://127.0.0.1:1/" + "x" * 20_000])


def test_a_file_system_that_hangs_is_left_when_the_time_is_over():
    import fsspec

    stop = threading.Event()

    class Hanging(fsspec.AbstractFileSystem):
        def _open(self, *_, **__):
            stop.wait()
            raise OSError("too late")

    fsspec.register_implementation("hanging", Hanging, clobber=True)
    try:
        refused_in_time(TextLoader(schemes=("hanging",), timeout=TIMEOUT), "hanging://x")
    finally:
        stop.set()


# links that move


@contextlib.contextmanager
def swapped(one, two):
    """Swaps the targets of two names as fast as possible, in a thread; yields the number of swaps,
    in a list."""
    stop, times, spare = threading.Event(), [0], one.with_name("spare")

    def swap():
        while not stop.is_set():
            os.rename(one, spare)
            os.rename(two, one)
            os.rename(spare, two)
            times[0] += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()


def seen_in_both_states(load, uris, most, swaps):
    """The results of loading: at least `most` times, and until both names' contents have come and
    there were fifty swaps, even if the swapping thread is slow."""
    seen, over = [], time.monotonic() + PATIENCE
    while len(seen) < most or len({*seen}) < 2 or swaps[0] < 50:
        seen += in_time(lambda: load(uris))
        assert time.monotonic() < over, f"{swaps[0]} exchanges, of which { ({*seen}) } was seen"
    return {*seen}


@pytest.mark.parametrize("what", ["a folder", "a file"])
def test_not_a_byte_from_outside_of_root_while_links_are_swapped(tmp_path, what):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a").mkdir(parents=True)
    outside.mkdir()
    (root / "a" / "x.txt").write_text("inside")
    (outside / "x.txt").write_text("outside")
    honest = root / "a" if what == "a folder" else root / "a" / "x.txt"
    link = honest.with_name("link")
    link.symlink_to(outside if what == "a folder" else outside / "x.txt")
    load = TextLoader(root=root, on_error="skip", threads=1)
    uris = [str(root / "a" / "x.txt")] * 500
    with swapped(honest, link) as swaps:
        assert seen_in_both_states(load, uris, 1_000, swaps) == {"inside", None}


def test_no_name_resolves_outside_of_root(tmp_path):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "root-beside").mkdir()
    for folder in (tmp_path, tmp_path / "root-beside", root, root / "a"):
        (folder / "x.txt").write_text(folder.name)
    (root / "up").symlink_to("..")
    (root / "absolute").symlink_to(tmp_path)
    (root / "a" / "sideways").symlink_to("../../root-beside")
    load = TextLoader(root=root)
    for name in ("../x.txt", "a/../../x.txt", "up/x.txt", "absolute/x.txt", "a/sideways/x.txt"):
        with pytest.raises(DataLoaderError, match="outside of root"):
            load([f"{root}/{name}"])
    for name in ("../root-beside/x.txt", "../../../../../../../../../etc/passwd"):
        with pytest.raises(DataLoaderError, match="outside of root"):
            load([f"{root}/{name}"])
    for name in (".", "a", "a/.."):
        with pytest.raises(DataLoaderError, match="no such file"):
            load([f"{root}/{name}"])


def test_links_within_root_and_links_to_root_are_followed(tmp_path, monkeypatch):
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "x.txt").write_text("x")
    (root / "a" / "link.txt").symlink_to("b/x.txt")
    (root / "folder").symlink_to(root / "a" / "b")
    (tmp_path / "other").symlink_to(root)
    monkeypatch.chdir(root / "a")
    uris = ["b/x.txt", "link.txt", "../folder/x.txt", "../a/../a/b/x.txt"]
    for given in (root, tmp_path / "other", "..", str(root)):
        load = TextLoader(root=given)
        assert {*load(uris)} == {"x"}
        for way in (root, tmp_path / "other"):
            whole = [f"{way}/folder/x.txt", f"file://{way}/a/b/x.txt"]
            assert load(whole) == ["x", "x"]
    assert TextLoader(root="/")([str(root / "folder" / "x.txt")]) == ["x"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_files_in_folders_that_cannot_be_listed_are_read(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("x")
    (tmp_path / "a").chmod(0o311)
    try:
        assert TextLoader(root=tmp_path)([str(tmp_path / "a" / "x.txt")]) == ["x"]
    finally:
        (tmp_path / "a").chmod(0o700)


def test_reading_below_root_keeps_no_file_open(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.txt").write_text("x")
    os.mkfifo(tmp_path / "a" / "b" / "pipe")
    load = TextLoader(root=tmp_path, on_error="skip", threads=1, max_bytes=1)
    names = ("a/b/x.txt", "a/b/none.txt", "a/none/x.txt", "a/b/pipe", "a/b", "a/b/x.txt/y")
    before = sorted(os.listdir("/dev/fd"))
    assert load([str(tmp_path / name) for name in names]) == ["x"] + [None] * 5
    assert sorted(os.listdir("/dev/fd")) == before


# files that never end


@pytest.mark.skipif(sys.platform != "linux", reason="has no /proc")
def test_files_that_the_kernel_makes_up_are_refused(tmp_path):
    (tmp_path / "kmsg.txt").symlink_to("/proc/kmsg")
    uris = ["/proc/kmsg", "/proc/self/environ", "/proc/self/mem", "/sys/kernel/uevent_seqnum"]
    for uri in [*uris, str(tmp_path / "kmsg.txt")]:
        refused_in_time(TextLoader(timeout=1.0), uri, "the kernel's own")


def test_empty_files_and_those_of_holes_alone_are_read(tmp_path):
    """They have no blocks, like the kernel's virtual files."""
    (tmp_path / "empty").touch()
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(5)
    uris = [str(tmp_path / "empty"), str(tmp_path / "hole")]
    assert TextLoader()(uris) == ["", "\0" * 5]


def test_a_pipe_that_takes_the_place_of_a_file_does_not_hang(tmp_path):
    (file := tmp_path / "x.txt").write_text("x")
    os.mkfifo(pipe := tmp_path / "pipe")
    with swapped(file, pipe) as swaps:
        for root in (None, tmp_path):
            load = TextLoader(root=root, on_error="skip", threads=1)
            assert seen_in_both_states(load, [str(file)] * 500, 1_000, swaps) == {
                "x",
                None,
            }


def test_a_file_that_has_nothing_to_read_yet_is_refused_rather_than_empty(monkeypatch):
    """Like a virtual file of the kernel that isn't in a table. Opened in this way, it doesn't
    block."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    steps.replace(monkeypatch, "open_source", lambda *_: io.FileIO(reading))
    with pytest.raises(DataLoaderError, match="nothing to read"):
        TextLoader()(["x"])
    os.close(writing)


# pictures that are larger than they look


def png(width, height, depth=8, colour=2, pixels=b""):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.fixture
def decoding(monkeypatch):
    """Pictures that are counted instead of decoded."""
    decoding = Decoding()
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda picture: decoding.load(picture))
    return decoding


class Decoding:
    """most: the greatest number of pixels decoded at once. meeting: a barrier at which each picture
    waits for others."""

    def __init__(self):
        self.counting, self.now, self.most = threading.Lock(), 0, 0
        self.meeting = threading.Barrier(1)

    def load(self, picture):
        pixels = picture.width * picture.height
        with self.counting:
            self.now += pixels
            self.most = max(self.most, self.now)
        time.sleep(0.02)  # so that one too many would be seen
        self.meeting.wait(PATIENCE)
        with self.counting:
            self.now -= pixels
        raise OSError("not decoded")


def load_at_once(folder, shapes, threads=8):
    uris = []
    for i, (width, height) in enumerate(shapes):
        (folder / f"{i}.png").write_bytes(png(width, height))
        uris.append(str(folder / f"{i}.png"))
    loaders = [ImageLoader(on_error="skip", threads=4) for _ in range(threads // 4)]
    callers = [threading.Thread(target=load, args=(uris,)) for load in loaders]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def test_large_images_of_all_loaders_are_decoded_one_at_a_time(tmp_path, decoding):
    load_at_once(tmp_path, [(7_000, 7_000)] * 8)
    assert decoding.most == 49_000_000


def test_all_that_is_decoded_at_once_stays_within_the_budget(tmp_path, decoding):
    sides = [7_000, 100, 5_000, 2_500, 3_000, 1_000, 4_000, 6_000, 10, 2_000] * 2
    load_at_once(tmp_path, [(side, side) for side in sides], threads=32)
    assert 0 < decoding.most <= 50_000_000


def test_pictures_of_usual_size_are_decoded_side_by_side(tmp_path, decoding):
    decoding.meeting = threading.Barrier(2)
    load_at_once(tmp_path, [(4_000, 3_000)] * 16)
    assert not decoding.meeting.broken
    assert 24_000_000 <= decoding.most <= 50_000_000


def test_neither_interrupts_nor_errors_keep_any_of_the_budget():
    """Ctrl-C at any moment: afterwards another thread can use the whole budget."""
    budget, turns, stop = Quota(1_000), itertools.count(), threading.Event()
    interrupts, armed, over = [0], [False], time.monotonic() + PATIENCE

    def work():
        if next(turns) % 5 == 0:
            raise ValueError("an error")

    def interrupt(*_):
        if armed[0] or time.monotonic() > over:
            armed[0], interrupts[0] = False, interrupts[0] + 1
            raise KeyboardInterrupt

    def hurried():
        while interrupts[0] < 500:
            armed[0] = True
            # Again after a while: the first may come too early to wake a thread that then waits.
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1e-4), 0.05)
            try:
                for amount in [1_000, 1, 300, 5_000] * 50:
                    budget.spend(amount, work)
            except ValueError:
                continue
        armed[0] = False

    before = signal.signal(signal.SIGALRM, interrupt)
    rivals = [
        threading.Thread(target=spend_until, args=(budget, stop), daemon=True) for _ in range(2)
    ]
    for rival in rivals:
        rival.start()
    while interrupts[0] < 500 and time.monotonic() < over:
        with contextlib.suppress(KeyboardInterrupt):
            hurried()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    stop.set()
    for rival in rivals:
        rival.join(PATIENCE)
        assert not rival.is_alive()
    assert time.monotonic() < over, f"it hangs after {interrupts[0]} interrupts"
    assert in_time(lambda: budget.spend(1_000, lambda: "done")) == "done"


def spend_until(budget, stop):
    while not stop.is_set():
        budget.spend(500, lambda: None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_forked_child_does_not_wait_for_decoding_in_its_parent(tmp_path):
    inside, done = threading.Event(), threading.Event()

    def hold():
        inside.set()
        done.wait()

    Image.new("RGB", (3, 3)).save(tmp_path / "x.png")
    holding = threading.Thread(target=DECODING.spend, args=(1 << 40, hold))
    holding.start()
    inside.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        status = in_child(lambda: ImageLoader()([str(tmp_path / "x.png")]))
    done.set()
    holding.join()
    assert status == 0


def icon(picture, width=16, height=16):
    directory = struct.pack("<HHH", 0, 1, 1)
    entry = struct.pack("<BBBBHHII", width, height, 0, 0, 1, 32, len(picture), 22)
    return directory + entry + picture


def test_an_icon_larger_than_declared_is_refused(tmp_path):
    (tmp_path / "large.ico").write_bytes(icon(png(9_000, 9_000, pixels=bytes(1_000))))
    bitmap = struct.pack("<IiiHHIIiiII", 40, 9_000, 18_000, 1, 1, 0, 0, 0, 0, 0, 0)
    (tmp_path / "bitmap.ico").write_bytes(icon(bitmap + bytes(2_000_000)))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "good.ico")
    for name in ("large.ico", "bitmap.ico"):
        with pytest.raises(DataLoaderError, match=r"9000 x 1?[98]000 pixels, more than max_pixels"):
            ImageLoader()([str(tmp_path / name)])
    assert ImageLoader()([str(tmp_path / "good.ico")])[0].shape == (32, 32, 3)


def test_files_that_begin_as_an_icon_are_not_read_as_anything_else(tmp_path):
    """As TGA, which has no signature of its own, it would have 30,000 x 30,000 pixels."""
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 1, 0, 0, 0, 0, 0, 30_000, 30_000, 8, 0)
    (tmp_path / "both").write_bytes(head + bytes(100))
    with pytest.raises(DataLoaderError, match="no image that can be read: cannot identify"):
        ImageLoader()([str(tmp_path / "both")])


def tiled(width, height, tile):
    """A grey TIFF of one compressed tile that is larger than the picture."""
    data = zlib.compress(bytes(tile * tile), 9)
    tags = [
        (256, width), (257, height), (258, 8), (259, 8), (262, 1), (277, 1),
        (322, tile), (323, tile), (324, 8), (325, len(data)),
    ]  # fmt: skip
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    end = struct.pack("<H", len(tags)) + listed + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + end


def test_a_tile_that_is_larger_than_its_picture_is_refused(tmp_path):
    (tmp_path / "large.tiff").write_bytes(tiled(16, 16, 8_000))
    (tmp_path / "good.tiff").write_bytes(tiled(16, 16, 32))
    with pytest.raises(DataLoaderError, match="8000 x 8000 pixels, more than max_pixels"):
        ImageLoader()([str(tmp_path / "large.tiff")])
    assert ImageLoader()([str(tmp_path / "good.tiff")])[0].shape == (16, 16, 3)


def test_pictures_decoded_in_strips_equal_whole_ones(tmp_path):
    """The pictures have several strips, in each mode whose conversion to colour differs."""
    tall = Image.radial_gradient("L").resize((900, 3_001))
    colour = Image.merge("RGB", [tall, tall.transpose(Image.Transpose.FLIP_TOP_BOTTOM), tall])
    clear = Image.new("L", tall.size, 255)
    cases = {
        "grey.png": (tall, colour_of(tall)),
        "colour.png": (colour, colour_of(colour)),
        "clear.png": (Image.merge("RGBA", [*colour.split(), clear]), colour_of(colour)),
        "float.tiff": (tall.convert("F"), colour_of(tall)),
    }
    for name, (picture, expected) in cases.items():
        picture.save(tmp_path / name)
        loaded = ImageLoader()([str(tmp_path / name)])[0]
        assert loaded.shape == (3_001, 900, 3) and loaded.flags.writeable
        assert abs(loaded.astype(int) - expected).max() <= 1


def colour_of(picture):
    import numpy as np

    return np.asarray(picture.convert("RGB")).astype(int)
