"""Examples that show a whole use: run as a user would run them, and again in the same directory."""

import csv
import importlib.util
import json
import re
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image

import retrieval_store
from tests.helpers import PATIENCE, ROOT
from tests.often import FULL
from tests.package.interpreters import Interpreter

EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def run():
    """Runs an example, and gives what it prints, or what it complains of where it is to fail."""
    interpreter = Interpreter([path.read_text() for path in EXAMPLES.glob("*.py")])

    def run(name, *arguments, cwd, says="", code=0):
        done = interpreter.run(EXAMPLES / name, *arguments, cwd=cwd, says=says)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    yield run
    interpreter.close()


def answers(output):
    """What stands below each question."""
    return dict(part.split("\n", 1) for part in output.split("\n? ")[1:])


def coloured(image, background):
    """The share of pixels that aren't background."""
    return (np.asarray(image.convert("RGB")) != background).any(axis=2).mean()


# Notes


def test_sample_notes_answer_with_their_sources_and_are_read_once(run, tmp_path):
    first = run("ask_your_notes.py", cwd=tmp_path)
    assert re.match(r"10 notes in \d+ passages; new or changed: 10, gone: 0, as before: 0\n", first)
    found = answers(first)
    assert len(found) == 4
    restored = found["How do I restore the database from the nightly dump?"]
    assert "no language model here" in restored
    assert re.search(r"\[\d\] postgres-restore.md:7 \(Restoring the database › Steps\)", restored)
    pressure = found["What is the pressure of the boiler supposed to be?"]
    assert "between 1.2 and 1.8 bar" in pressure
    assert pressure.partition("Sources:")[2].strip().startswith("[1] boiler.rst:9 (Boiler ›")
    assert "E4711: the pump has stopped" in found["error E4711"]

    again = run("ask_your_notes.py", cwd=tmp_path)
    assert re.match(r"10 notes in \d+ passages; new or changed: 0, gone: 0, as before: 10\n", again)
    assert answers(again) == found


def test_own_notes_are_followed_as_they_change(run, tmp_path):
    notes = tmp_path / "my notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "tea.md").write_text(
        "---\nkind: drink\n---\n# Tea\n\n```\n# no heading\n```\n\n## Green\n\nSteep it at 70 degrees."
    )
    (notes / "deep" / "car.txt").write_text("The car is parked in Elm Street.")
    (notes / ".hidden.md").write_text("The car is parked nowhere.")
    (notes / "picture.png").write_bytes(b"no note")

    def ask(*questions, **how):
        asked = [part for question in questions for part in ("--ask", question)]
        return run("ask_your_notes.py", notes, *asked, "--store", notes / "s", cwd=tmp_path, **how)

    first = ask("Where is the car?", "How hot for green tea?")
    assert first.startswith("2 notes in 4 passages; new or changed: 2, gone: 0, as before: 0\n")
    found = answers(first)
    assert "[1] deep/car.txt:1 (car)" in found["Where is the car?"]
    assert "[1] tea.md:12 (Tea › Green)" in found["How hot for green tea?"]
    assert "no heading)" not in first

    (notes / "deep" / "car.txt").write_text("\nThe car is parked in Oak Street.")
    (notes / "milk.rst").write_text("Shopping\n========\n\nBuy milk and bread.\n")
    (notes / "todo.md").write_text("# Call the plumber")
    (notes / "tea.md").unlink()
    typed = "Where is the car?\nwhat to buy\nHow hot for green tea?\n\nnot asked any more\n"
    second = ask(says=typed)  # from the keyboard
    assert second.startswith("3 notes in 3 passages; new or changed: 3, gone: 1, as before: 0\n")
    assert list(answers(second)) == typed.splitlines()[:3]
    assert "Oak Street" in second and "Elm Street" not in second and "70 degrees" not in second
    assert "[1] milk.rst:4 (Shopping)" in answers(second)["what to buy"]


def test_notes_say_what_a_model_needs(run, tmp_path):
    told = run("ask_your_notes.py", "--model", "nobody's", cwd=tmp_path, code=1)
    assert "--model nobody's" in told and "pip install langchain" in told


# A memory


def test_an_assistant_remembers_what_it_was_told(run, tmp_path):
    said = "My sister lives in Lisbon.\nThe spare key is with the neighbour.\n"
    first = run("agent_memory.py", "memory", cwd=tmp_path, says=said)
    assert first.count("1 added to notes") == 2
    again = run("agent_memory.py", "memory", cwd=tmp_path, says="Where does my sister live?\n")
    assert "My sister lives in Lisbon." in again
    assert "neighbour" not in again


class Model(BaseHTTPRequestHandler):
    """Stands for the server of a model: it searches for what the user says, and repeats what it was
    shown."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert "search" in [one["function"]["name"] for one in body["tools"]]
        last = body["messages"][-1]
        message = {"role": "assistant", "content": f"I know: {last['content']}"}
        if last["role"] == "user":
            called = {"name": "search", "arguments": json.dumps({"text": last["content"]})}
            message["tool_calls"] = [{"id": "1", "type": "function", "function": called}]
        sent = json.dumps({"choices": [{"message": message}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *args):
        pass


def test_a_model_uses_the_memory_by_itself(run, tmp_path):
    run("agent_memory.py", "memory", cwd=tmp_path, says="The key is under the mat.\n")
    with HTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        asked = ("memory", "--address", address, "--model", "any")
        told = run("agent_memory.py", *asked, cwd=tmp_path, says="Where is the key?\n")
        server.shutdown()
    assert '[search {"text": "Where is the key?"}]' in told
    assert "I know: 1 hit in notes" in told
    assert "The key is under the mat." in told


# Photos


def hits(output):
    """Of each question (name, price) of what was found."""
    line = re.compile(r"^  (.+), (\d+\.\d\d) EUR$", re.MULTILINE)
    return {
        question: [(name, float(price)) for name, price in line.findall(below)]
        for question, below in answers(output).items()
    }


@pytest.mark.in_turn(2)
def test_photos_are_found_by_words_and_by_picture_and_drawn(run, tmp_path):
    first = run("product_photos.py", cwd=tmp_path)
    assert first.startswith("56 photos, 56 of them new, 0 gone\n")
    found = hits(first)
    assert [len(below) for below in found.values()] == [5] * 6
    mugs = [name for name, _ in found["a red mug"]]
    assert all(re.match("Red .*(Mug|Cup)$", name) for name in mugs[:2])
    shoes = found["blue shoes, under 90 EUR"]
    assert shoes[0][0] == "Blue Boot" and all(price < 90 for _, price in shoes)
    lamps = [name for name, _ in found["something yellow that gives light"]]
    assert all(re.match("Yellow .*Lamp$", name) for name in lamps[:2])
    assert all(name.startswith("Pink") for name, _ in found["pink, under 80 EUR"][:3])
    assert re.match("Green .*Backpack$", found["backpack.png"][0][0])
    bottles = [name for name, _ in found["shirt.png, kind: bottle"]]
    assert all(re.search("Carafe$|Flask$", name) for name in bottles)
    assert all(name.startswith("Orange") for name in bottles[:2])
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.size == (1366, 104 + 6 * 278 + 16)
        assert coloured(sheet, (243, 243, 246)) > 0.7, "the sheet is empty"
        red_mug, white = np.asarray(sheet)[104:366, 270:470].reshape(-1, 3).T[:, :, None], 255
        assert (red_mug[0] > red_mug[1] + 90).mean() > 0.08, "the first hit isn't red"
        assert (red_mug == white).mean() > 0.1, "there is no card"

    photos = tmp_path / "product_store" / "photos"
    with (photos / "catalogue.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["name"] == mugs[0]:
            row["price"] = "5"
    with (photos / "catalogue.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (photos / "blue-boot.png").unlink()
    asked = ("--query", "red mug", "--like", photos / "brown-boot.png", "--under", "62")
    again = run("product_photos.py", *asked, "--sheet", "two.png", cwd=tmp_path)
    assert again.startswith("55 photos, 0 of them new, 1 gone\n")
    assert hits(again)["red mug, under 62 EUR"][0] == (mugs[0], 5)
    assert hits(again)["brown-boot.png, under 62 EUR"][0][0] == "Red Boot"
    with Image.open(tmp_path / "two.png") as sheet:
        assert sheet.size == (1366, 104 + 2 * 278 + 16)


def test_photos_of_your_own_need_no_catalogue(run, tmp_path):
    mine, asked = tmp_path / "mine", tmp_path / "asked.jpg"
    mine.mkdir()
    for name, colour in (("a-tomato", (200, 40, 40)), ("a-leaf", (40, 140, 60))):
        picture = Image.new("RGB", (300, 200), (220, 220, 220))
        picture.paste(colour, (90, 60, 210, 150))
        picture.save(mine / f"{name}.jpg")
    Image.open(mine / "a-leaf.jpg").transpose(Image.Transpose.ROTATE_90).save(asked)
    arguments = (mine, "--like", asked, "--query", "red", "--query", "sonata", "--store", "s")
    output = run("product_photos.py", *arguments, cwd=tmp_path)
    assert output.startswith("2 photos, 2 of them new, 0 gone\n")
    found = answers(output)
    assert found["asked.jpg"].split("\n")[0] == "  a leaf"
    assert found["red"].split("\n")[0] == "  a tomato"
    assert "knows none of these words" in found["sonata"]


# The web service


@pytest.fixture
def web_service():
    """The example as a module, for what it starts and connects to."""
    where = EXAMPLES / "web_service.py"
    spec = importlib.util.spec_from_file_location("web_service", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(port, method, path, body=None):
    """(status, what is said, the worker's pid)"""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, json.loads(data) if data else None, int(response.headers["X-Worker"])


@pytest.mark.slow  # four workers, each with a model
def test_a_note_written_through_one_worker_is_found_through_all(run, tmp_path, web_service, capsys):
    output = run("web_service.py", "--demo", "--store", "store", cwd=tmp_path)
    workers = re.findall(r"\d+", re.search(r"^Workers \[(.*)\] serve", output)[1])
    assert len(set(workers)) == 4
    written = re.findall(r"written by worker (\d+), found at once by workers \[(.*)\]", output)
    assert {writer: set(finders.split(", ")) for writer, finders in written} == {
        worker: {*workers} - {worker} for worker in workers
    }
    assert len(re.findall(r" [\d,]+ a second \(\d+ in ", output)) == 4
    left = re.search(r"notes left, by worker: \{(.*)\}", output)[1].split(", ")
    assert sorted(left) == sorted(f"{worker}: 0" for worker in workers)
    assert output.endswith("Stopped\n")

    with web_service.served(2, str(tmp_path / "store")) as port:  # the same directory once more
        ready = web_service.callers(port, 2)
        cat = {"text": "The cat sleeps on the sofa.", "topic": "home", "year": 2021}
        told = {**cat, "id": "cat"}
        assert asked(port, "PUT", "/notes/cat", cat)[:2] == (200, told)
        for pid, call in ready.items():
            assert call("GET", "/notes/cat") == told and call.worker == pid
            assert call("GET", "/search?q=kitten&topic=home&since=2021")[0]["id"] == "cat"
            assert call("GET", "/search?q=kitten&since=2022") == []
            assert call("GET", "/health") == {"worker": pid, "notes": 1}
            call.close()
        status, refused, pid = asked(port, "POST", "/notes/cat", cat)
        assert status == 409 and "'cat'" in refused["detail"] and pid in ready
        assert asked(port, "POST", "/notes/dog", {"text": "The dog barks."})[0] == 201
        assert asked(port, "PUT", "/notes/cat", {"text": "Only this."})[0] == 200
        replaced = {"text": "Only this.", "topic": None, "year": None, "id": "cat"}
        assert asked(port, "GET", "/notes/cat")[1] == replaced
        for bad in ({"text": ""}, {"txt": "x"}, {"text": "x", "year": "soon"}, []):
            assert asked(port, "PUT", "/notes/cat", bad)[0] == 422
        for bad in ("/search?q=", "/search", "/search?q=x&limit=0", "/search?q=x&mode=best"):
            assert asked(port, "GET", bad)[0] == 422
        assert asked(port, "DELETE", "/notes/cat")[:2] == (204, None)
        for method in ("GET", "DELETE"):
            status, missing, _ = asked(port, method, "/notes/cat")
            assert (status, missing) == (404, {"detail": "there is no note 'cat'"})
    assert capsys.readouterr().out == "Stopped\n"
    with retrieval_store.Client(tmp_path / "store") as client:
        assert client.get_collection("notes").get()["documents"] == ["The dog barks."]


# The notebook


def executed(where, monkeypatch):
    """What the notebook prints, run there by a kernel of this Python."""
    import nbclient
    import nbformat

    kernel = where / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    told = {"argv": argv, "display_name": "of the tests", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(told))
    monkeypatch.setenv("JUPYTER_PATH", str(where / "jupyter"))
    notebook = nbformat.read(EXAMPLES / "map_of_a_csv.ipynb", as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None, "it isn't clean"
    nbclient.NotebookClient(
        notebook, timeout=PATIENCE, resources={"metadata": {"path": str(where)}}
    ).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    return "\n".join(
        one["text"] if one.output_type == "stream" else one["data"].get("text/plain", "")
        for one in outputs
    )


def test_the_notebook_goes_from_a_csv_to_a_map(tmp_path, monkeypatch):
    first = executed(tmp_path, monkeypatch)
    rows = int(re.search(r"^(\d+) rows$", first, re.MULTILINE)[1])
    assert 300 <= rows <= 1000
    assert f"{rows} added, 0 were there" in first
    assert re.search(rf"^\d+ of {rows + 6}$", first, re.MULTILINE)
    assert re.search(r"\d +asyncio\.wait +concurrency ", first)
    with Image.open(tmp_path / "map_of_a_csv" / "map.png") as drawn:
        assert drawn.size == (1430, 825)
        assert 0.04 < coloured(drawn, (255, 255, 255)) < 0.5, "the map is blank"
        shades = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(shades // 32, axis=0)) > 20
        before = drawn.tobytes()

    if not FULL:  # a kernel takes five seconds
        return
    again = executed(tmp_path, monkeypatch)
    assert f"0 added, {rows} were there" in again
    with Image.open(tmp_path / "map_of_a_csv" / "map.png") as drawn:
        assert drawn.tobytes() == before
