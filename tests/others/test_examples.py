"""Whole example programs: run as a user would run them, twice in the same directory."""

import io
import json
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.helpers import PATIENCE, ROOT, free_port
from tests.helpers.indexed import until
from tests.others.interpreters import Interpreter

EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def run():
    """Runs an example; returns its output. code: the expected exit code."""
    interpreter = Interpreter([path.read_text() for path in EXAMPLES.glob("*.py")])

    def run(name, *arguments, cwd, says="", code=0):
        done = interpreter.run(EXAMPLES / name, *arguments, cwd=cwd, says=says)
        assert done.returncode == code, done.stderr
        return done.stdout

    yield run
    interpreter.close()


def answers(output):
    """The lines below each question."""
    return dict(part.split("\n", 1) for part in output.split("\n? ")[1:])


def coloured(image, background):
    """The share of pixels that aren't background."""
    return (np.asarray(image.convert("RGB")) != background).any(axis=2).mean()


# A folder


def test_the_docs_answer_with_their_sources_and_are_read_once(run, tmp_path):
    first = run("ask_a_folder.py", cwd=tmp_path)
    assert re.match(r"\d+ added, 0 changed, 0 deleted, 0 unchanged", first)
    found = answers(first)
    for question, page in {
        "Does a write survive a power cut?": "durability",
        "How do I search by a code such as E4711?": "words",
        "How do I back up a store while others write?": "operating",
    }.items():
        assert re.match(rf"\[1\] .*\({page}.md\)", found.pop(question))
    assert not found
    again = run("ask_a_folder.py", "--ask", "what does the glossary call a passage?", cwd=tmp_path)
    assert re.match(r"0 added, 0 changed, 0 deleted, \d+ unchanged", again)
    assert "(glossary.md)" in again


def test_own_files_are_followed_as_they_change(run, tmp_path):
    notes = tmp_path / "my notes"
    (notes / "deep").mkdir(parents=True)
    (notes / "tea.md").write_text("# Tea\n\n## Green\n\nSteep it at 70 degrees.\n")
    (notes / "deep" / "car.txt").write_text("The car is parked in Elm Street.")
    typed = "Where is the car?\n\nHow hot for green tea?\n"
    first = run("ask_a_folder.py", notes, cwd=tmp_path, says=typed)  # from the keyboard
    assert first.startswith("2 added")
    assert answers(first)["Where is the car?"].startswith("[1] deep/car.txt, ")
    assert "Tea (tea.md), Green" in answers(first)["How hot for green tea?"]
    (notes / "deep" / "car.txt").write_text("The car is parked in Oak Street.")
    (notes / "tea.md").unlink()
    second = run("ask_a_folder.py", notes, "--ask", "Where is the car?", cwd=tmp_path)
    assert second.startswith("0 added, 1 changed, 1 deleted")
    assert "Oak Street" in second and "Elm Street" not in second and "degrees" not in second
    others = tmp_path / "others" / "deep"
    others.mkdir(parents=True)
    (others / "car.txt").write_text("The car is sold.")  # a file of the same name
    third = run("ask_a_folder.py", others.parent, "--ask", "Where is the car?", cwd=tmp_path)
    assert "1 added" in third and "sold" in third and "Oak Street" not in third


@contextmanager
def model_at(answer):
    """The address of a stand-in for a model's server. answer: makes the response message for a
    request."""

    class Model(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent = json.dumps({"choices": [{"message": answer(body)}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def reads(body):
    """The question that a model gets, and the earlier messages."""
    passages, question = body["messages"][-1]["content"].split("\n\nQuestion: ")
    before = [one["content"] for one in body["messages"][1:-1] if one["role"] == "user"]
    return {"content": f"{body['model']} reads {passages!r} for {question!r} after {before}"}


def test_a_model_answers_from_the_passages_and_remembers_the_conversation(run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "car.txt").write_text("The car is parked in Elm Street.")
    with model_at(reads) as address:
        words = ("--address", address, "--model", "mine")
        query = ("--ask", "Where is the car?", "--ask", "Since when?")
        done = run("ask_a_folder.py", "notes", *words, *query, cwd=tmp_path)
    passage = "'[1] car: The car is parked in Elm Street.'"
    assert f"mine reads {passage} for 'Where is the car?' after []" in done
    assert "for 'Since when?' after ['Where is the car?']" in done
    assert done.count("  [1] car.txt") == 2


def test_a_check_in_ci_fails_below_its_threshold_and_names_what_is_missed(run, tmp_path):
    done = run("evaluate_in_ci.py", cwd=tmp_path)
    assert re.search(r"^hybrid: MRR@5 0\.\d+, wanted at least 0.6$", done, re.MULTILINE)
    (tmp_path / "notes").mkdir()
    for name in ("bread", "boat", "bank", "rose", "train", "song"):
        (tmp_path / "notes" / f"{name}.md").write_text(f"All about the {name}.")
    lines = [{"query": "baking bread", "files": ["bread.md"]}]
    query = ("notes", "--questions", "questions.jsonl", "--least", "0.9")
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "missed" not in run("evaluate_in_ci.py", *query, cwd=tmp_path)
    lines.append({"query": "rose train song bread boat", "files": ["bank.md"]})
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run("evaluate_in_ci.py", *query, cwd=tmp_path, code=1)
    assert "missed: rose train song bread boat\n    wanted bank.md; found " in done


def test_an_application_moves_to_a_cluster_and_loses_nothing(run, tmp_path):
    done = run("move_to_cluster.py", cwd=tmp_path)
    assert re.search(r"^copied in .* while it wrote$", done, re.MULTILINE)
    here = re.search(r"(\d+) notes on both sides", done)[1]
    held, left = re.search(r"(\d+) notes on the cluster, (\d+) in the directory", done).groups()
    assert left == here and int(held) >= int(left) + 10


# A memory


def test_an_assistant_remembers_earlier_messages(run, tmp_path):
    text = "My sister lives in Lisbon.\nThe spare key is with the neighbour.\n"
    first = run("agent_memory.py", "memory", cwd=tmp_path, says=text)
    assert first.count("1 added to notes") == 2
    again = run("agent_memory.py", "memory", cwd=tmp_path, says="Where does my sister live?\n")
    assert "My sister lives in Lisbon." in again
    assert "neighbour" not in again


def searches(body):
    """First a search for the user's message, then its results."""
    assert "search" in [one["function"]["name"] for one in body["tools"]]
    last = body["messages"][-1]
    message = {"role": "assistant", "content": f"I know: {last['content']}"}
    if last["role"] == "user":
        called = {"name": "search", "arguments": json.dumps({"text": last["content"]})}
        message["tool_calls"] = [{"id": "1", "type": "function", "function": called}]
    return message


def test_a_model_uses_the_memory_by_itself(run, tmp_path):
    run("agent_memory.py", "memory", cwd=tmp_path, says="The key is under the mat.\n")
    with model_at(searches) as address:
        query = ("memory", "--address", address, "--model", "any")
        done = run("agent_memory.py", *query, cwd=tmp_path, says="Where is the key?\n")
    assert '[search {"text": "Where is the key?"}]' in done
    assert "I know: 1 hit in notes" in done
    assert "The key is under the mat." in done


# Photos


@contextmanager
def begun(tmp_path, name, *words):
    """An example that serves until it is stopped, and its output lines."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def test_photos_are_found_by_words_and_by_another_on_a_page(tmp_path):
    with begun(tmp_path, "photo_search.py", "--port", 0) as process:
        assert process.stdout.readline().startswith("12 added")
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url, timeout=PATIENCE) as page:
            assert "12 photos" in page.get("/").text
            shown = re.compile(r'src="/photo\?id=([^"]+)"')
            red = shown.findall(page.get("/", params={"q": "a red ball"}).text)
            assert {*red[:2]} == {"red-ball.png", "red-box.png"}
            like = shown.findall(page.get("/", params={"like": "blue-box.png"}).text)
            assert like[0].endswith("-box.png") and "blue-box.png" not in like
            photo = page.get("/photo", params={"id": "red-box.png"})
            assert Image.open(io.BytesIO(photo.content)).getpixel((160, 120)) == (255, 0, 0)
            for missing in ("/photo?id=../photo_store/catalog.sqlite", "/photo", "/other"):
                assert page.get(missing).status_code == 404
            assert "<script>" not in page.get("/", params={"q": "<script>"}).text


def test_photos_of_a_folder_of_ones_own(tmp_path):
    (tmp_path / "mine").mkdir()
    for name, colour in (("tomato", "red"), ("leaf", "green")):
        Image.new("RGB", (300, 200), colour).save(tmp_path / "mine" / f"{name}.jpg")
    with begun(tmp_path, "photo_search.py", "mine", "--port", 0) as process:
        assert process.stdout.readline().startswith("2 added")
        found = httpx.get(f"{process.stdout.readline().strip()}/?q=green", timeout=PATIENCE).text
        assert found.index("leaf.jpg") < found.index("tomato.jpg")


# The web service


def test_a_note_written_through_one_worker_is_found_through_all(tmp_path):
    port = free_port()
    words = ("--workers", 2, "--port", port, "--store", "store")
    cat = {"text": "The cat sleeps on the sofa.", "topic": "home"}
    url = f"http://127.0.0.1:{port}"
    with begun(tmp_path, "web_service.py", *words), httpx.Client(timeout=PATIENCE) as web:
        until(lambda: answers_at(url), "the service doesn't answer")
        assert web.put(f"{url}/notes/cat", json=cat).json() == {**cat, "id": "cat", "score": None}
        workers = set()

        def found_by_both():
            found = httpx.get(f"{url}/search?q=kitten&topic=home", timeout=PATIENCE)
            assert [hit["id"] for hit in found.json()] == ["cat"]
            workers.add(found.headers["X-Worker"])
            return len(workers) == 2

        until(found_by_both, "one worker answers everything")
        assert web.get(f"{url}/search?q=kitten&topic=work").json() == []
        replaced = {"text": "Only this.", "topic": None, "id": "cat", "score": None}
        assert web.put(f"{url}/notes/cat", json={"text": "Only this."}).status_code == 200
        assert web.get(f"{url}/notes/cat").json() == replaced
        for bad in ({"text": ""}, {"txt": "x"}, []):
            assert web.put(f"{url}/notes/cat", json=bad).status_code == 422
        for bad in ("/search?q=", "/search", "/search?q=x&limit=0"):
            assert web.get(url + bad).status_code == 422
        assert [web.delete(f"{url}/notes/cat").json()["deleted"] for _ in range(2)] == [1, 0]
        assert web.get(f"{url}/notes/cat").status_code == 404


def answers_at(url):
    """Whether a service answers at this URL."""
    try:
        return httpx.get(f"{url}/docs", timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


# The notebook


def executed(where, monkeypatch):
    """The output of the notebook, executed there by a kernel of this Python."""
    import nbclient
    import nbformat

    kernel = where / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    fields = {"argv": argv, "display_name": "of the tests", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(fields))
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


def test_the_notebook_draws_a_map_of_a_csv(tmp_path, monkeypatch):
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
