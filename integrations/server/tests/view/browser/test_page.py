"""The page in a real browser, with the real command and a real store."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

import retrieval_store
from integrations.server.tests.view.browser.looking import HOSTILE, PATIENCE, Page, missing

reason_missing = missing()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.models,
    pytest.mark.skipif(reason_missing is not None, reason=f"{reason_missing}"),
]
QUESTION = "where does the kitten rest"


@contextlib.contextmanager
def notes_of(place: Path) -> Any:
    """The notes, opened by another client."""
    with retrieval_store.Client(place) as client:
        yield client.get_collection("notes")


def filter_by(page: Page, key: str, operator: str, value: str) -> None:
    """Add a condition with the builder."""
    if not page.found(".filter-body"):
        page.press("Filter", ".filter-head")
    page.press("Add a condition", ".builder")
    row = f".builder .condition:nth-of-type({len(page.found('.builder .key'))})"
    page.write(f"{row} .key", key)
    page.choose(f"{row} select.operator", operator)
    page.write(f"{row} input.value", value)


def test_why_a_passage_that_should_have_come_did_not(page: Page, place: Path) -> None:
    page.collection("notes")
    page.ask(QUESTION)
    page.write('[data-side="A"] input.short', "3")
    filter_by(page, "year", "$gte", "2000")
    page.until(lambda: page.text(".count") == "50 of 60 records match")
    page.until(lambda: len(page.ids()) == 3)
    page.explain("The cat sleeps on the warm sofa every day, note 0.")
    page.until(lambda: "conditions leave it out" in page.text(".verdict"))
    condition, met, argument = page.texts(".excluded tbody td")
    assert json.loads(condition) == {"year": {"$gte": 2000}}
    assert (met, argument) == ("1990", "where")
    page.shot("excluded")

    page.press("Clear the filter")
    page.explain("Heavy rain falls on the northern hills as ever, note 9.")
    with notes_of(place) as notes:
        ranked = notes.query(query_texts=QUESTION, n_results=60)["ids"][0]
    rank = ranked.index("rain-9") + 1
    page.until(lambda: f"it would come at place {rank}, and the first 3" in page.text(".verdict"))
    assert page.texts(".legs tbody tr:first-child > *")[::2][0] == "meaning"
    assert page.texts(".legs tbody tr:first-child > *")[2] == str(rank)
    assert "would show it" in page.text(".advice")
    page.explain("no such words anywhere xyzzy the sofa")
    page.until(lambda: "none" not in page.text(".why .remark") and page.text(".why .remark"))
    assert page.text(".reason h4").startswith("cats-")
    page.shot("rank")
    assert not page.complaints()


def test_a_filter_built_is_the_filter_written_and_counts(page: Page, place: Path) -> None:
    page.collection("notes")
    page.view("records")
    filter_by(page, "author.name", "$eq", "Ada")
    filter_by(page, "year", "$lt", "2010")
    page.until(lambda: page.text(".count") == "10 of 60 records match")
    page.click("details.raw summary")
    where = {"$and": [{"author.name": {"$eq": "Ada"}}, {"year": {"$lt": 2010}}]}
    written = page.until(lambda: page.one(".raw textarea").get_attribute("value"))
    assert json.loads(written) == where
    page.choose("select.join", "or")
    page.until(lambda: page.text(".count") == "40 of 60 records match")
    with notes_of(place) as notes:
        either = {"$or": where["$and"]}
        assert notes.count(where=either) == 40
        assert page.texts(".card button.id") == notes.get(where=either, limit=25)["ids"]
    page.write(".raw textarea", json.dumps({"$not": {"year": {"$lt": 2010}}}))
    page.until(lambda: page.text(".count") == "40 of 60 records match")
    page.until(lambda: "says more than the builder" in page.text(".filter-body"))
    page.write(".raw textarea", json.dumps({"topic": "rain", "year": {"$in": [1994, 1999]}}))
    page.until(lambda: page.text(".count") == "2 of 60 records match")
    values = [one.get_attribute("value") for one in page.found(".builder input.value")]
    assert values == ["rain", "1994, 1999"]
    page.write(".raw textarea", '{"year": {"$has": 1}}')
    page.until(lambda: "$has" in page.text(".count.error"))
    page.write(".raw textarea", "{")
    page.until(lambda: "JSON" in page.text(".raw .error"))


def test_two_settings_side_by_side_show_what_moved(page: Page, place: Path) -> None:
    page.collection("notes")
    page.ask("E4712 bread")
    page.press("Compare with a second setting")
    page.choose('fieldset[data-side="B"] select.mode', "text")
    page.until(lambda: page.ids("B"))
    page.settled()
    with notes_of(place) as notes:
        a, b = (
            notes.query(query_texts="E4712 bread", mode=mode)["ids"][0]
            for mode in ("dense", "text")
        )
    page.until(lambda: (page.ids("A"), page.ids("B")) == (a, b))
    expected = [
        "new" if one not in a else
        "same place" if a.index(one) == at else
        f"{'up' if a.index(one) > at else 'down'} from {a.index(one) + 1}"
        for at, one in enumerate(b)
    ]  # fmt: skip
    assert page.texts('.result[data-side="B"] .move') == expected
    gone = [one for one in a if one not in b]
    assert page.texts(".gone button.id") == gone
    assert page.texts('.result[data-side="B"] .hit:first-child mark')
    page.click('.result[data-side="A"] .plan summary')
    assert "fetch" in page.text('.result[data-side="A"] .plan .bars')
    page.click(page.one(".side-b label.check input"))
    page.write(".side-b input[type=text]", "ship\n")
    page.until(lambda: page.ids("B") and all("ship" in one for one in page.ids("B")))
    page.shot("two")


@pytest.mark.parametrize("query, kind", [("?canvas=0", "webgl2"), ("?canvas=1", "canvas")])
def test_points_of_the_map_are_chosen_by_the_lasso(page: Page, query: str, kind: str) -> None:
    page.opened(query)
    page.collection("notes")
    page.ask(QUESTION)
    page.view("map")
    page.until(lambda: page.text(".told").startswith("all 60 points drawn"))
    assert page.one(".told").get_attribute("data-kind") == kind
    page.until(lambda: len(page.texts(".map-hits tbody tr")) == 10)
    page.choose("select.color", "topic")
    page.until(lambda: page.texts(".legend td.number") == ["12"] * 5)
    assert inked(page) > 200
    page.press("Lasso (L)")
    drag_around(page)
    page.until(lambda: page.text(".chosen-points p").startswith("60 of 60"))
    page.until(lambda: len(page.texts(".chosen-table tbody tr")) == 60)
    page.shot(kind)
    page.press("+")
    page.press("+")
    page.one(".board").send_keys("a")
    page.until(lambda: not page.text(".chosen-points p").startswith("60 of 60"))
    number = int(page.text(".chosen-points strong"))
    page.until(lambda: len(page.texts(".chosen-table tbody th")) == number)
    chosen = page.texts(".chosen-table tbody th")
    page.press("Filter to these")
    page.until(lambda: page.text(".count") == f"{len(chosen)} of 60 records match")
    page.view("records")
    page.until(lambda: len(page.found(".card")) == min(25, number))
    assert {*page.texts(".card button.id")} <= {*chosen}
    assert not page.complaints()


def inked(page: Page) -> int:
    """How many pixels of the map's points are drawn, in a screenshot."""
    from PIL import Image

    def count() -> int:
        shot = Image.open(io.BytesIO(page.one(".board").screenshot_as_png)).convert("HSV")
        return sum(saturation > 100 for saturation in shot.getchannel("S").tobytes())

    return page.until(lambda: count() if count() > 0 else None)


def drag_around(page: Page) -> None:
    """Draw a line around nearly the whole board."""
    from selenium.webdriver.common.action_chains import ActionChains

    board = page.one(".board")
    page.read("arguments[0].scrollIntoView({block: 'center'})", board)
    across, down = board.size["width"] // 2 - 6, board.size["height"] // 2 - 6
    corners = [(-across, down), (across, down), (across, -down)]
    action = ActionChains(page.driver, duration=20)
    action.move_to_element_with_offset(board, -across, -down).click_and_hold()
    for left, top in corners:
        action.move_to_element_with_offset(board, left, top)
    action.release().perform()


def test_writes_of_another_process_appear(page: Page, place: Path) -> None:
    with retrieval_store.Client(place) as client:
        diary = client.create_collection("diary", embedding_function=None)
        diary.add(ids=["first"], embeddings=[[0, 1]], documents=["Monday"])
        try:
            page.until(lambda: "diary" in page.text(".collections"))
            page.collection("diary")
            page.view("records")
            page.until(lambda: page.texts(".card button.id") == ["first"])
            page.press("Filter", ".filter-head")
            page.press("Add a condition on the document")
            page.write(".condition input.value", "day")
            page.until(lambda: page.text(".count") == "1 of 1 records match")
            diary.add(ids=["second"], embeddings=[[1, 1]], documents=["Tuesday"])
            page.until(lambda: page.text(".count") == "2 of 2 records match")
            page.until(lambda: page.texts(".card button.id") == ["first", "second"])
            assert page.one(".condition input.value").get_attribute("value") == "day"
            page.view("map")
            page.until(lambda: page.text(".told").startswith("all 2 points"))
            diary.add(ids=["third"], embeddings=[[1, 0]], documents=["Friday"])
            page.press("update", ".changed")
            page.until(lambda: page.text(".told").startswith("all 3 points"))
        finally:
            client.delete_collection("diary")
    page.view("collections")
    page.until(lambda: "diary" not in page.text(".collections"))


def test_malicious_content_is_shown_as_text(page: Page) -> None:
    page.collection("hostile")
    page.view("records")
    first = page.until(lambda: page.text(".card .text"))
    assert first.startswith("<script>window.harmed=1</script><img src=x")
    signs = page.texts(".card:first-child .text .hidden-character")
    assert signs[:4] == ["U+202E", "U+202C", "␀", "U+2066"]
    assert len(first) < 2000 < len(HOSTILE) * 200
    assert str(2**64 - 1) in page.text(".card .tree")
    assert "javascript:window.harmed=1" in page.text(".uri")
    page.click(".card button.id")
    page.one(".panel .vectors")
    page.press("show more", ".panel")
    page.until(lambda: len(page.text(".panel .text")) > 10_000)
    page.press("Close", ".panel")
    page.view("query")
    page.until(lambda: "Search by words is" in page.text(".ask .remark"))
    page.ask("exe isolated")
    page.until(lambda: len(page.ids()) == 1)
    assert page.texts(".hit:first-child mark")[:2] == ["exe", "isolated"]
    page.write(".why input", "<script>window.harmed=1</script>")
    page.press("Say why")
    page.until(lambda: "no record with this id" in page.text(".verdict"))
    page.view("map")
    page.until(lambda: page.text(".told").startswith("all 2 points"))
    page.choose("select.color", HOSTILE[:60])
    page.until(lambda: "<script>" in page.text(".legend tbody"))
    assert page.read("return window.harmed") is None
    assert not page.found("main script, main a, main img, [style*=expression]")
    assert not page.complaints()


def test_the_question_is_in_the_address_and_the_key_is_not(page: Page) -> None:
    page.collection("notes")
    page.ask(QUESTION)
    page.choose('[data-side="A"] select.mode', "hybrid")
    page.write('[data-side="A"] input.short', "4")
    filter_by(page, "topic", "$ne", "rain")
    page.until(lambda: page.text(".count") == "48 of 60 records match")
    page.until(lambda: len(page.ids()) == 4)
    page.settled()
    ids, token = page.ids(), page.address.partition("token=")[2]
    page.until(lambda: "hybrid" in page.driver.current_url and "rain" in page.driver.current_url)
    assert token not in page.driver.current_url
    page.driver.refresh()
    page.until(lambda: page.ids() == ids)
    assert page.one("#question").get_attribute("value") == QUESTION
    assert page.one('[data-side="A"] select.mode').get_attribute("value") == "hybrid"
    page.press("Filter", ".filter-head")
    assert page.one(".condition .key").get_attribute("value") == "topic"
    page.write("#question", "ships\n")
    page.until(lambda: page.ids() and page.ids() != ids)
    page.driver.back()
    page.until(lambda: page.ids() == ids)
    bookmark = page.driver.current_url
    page.driver.get("about:blank")
    page.driver.get(bookmark)
    page.until(lambda: page.ids() == ids)
    page.read("sessionStorage.clear()")
    page.driver.refresh()
    page.until(lambda: page.found(".key-prompt input"))
    page.write(".key-prompt input", "wrong\n")
    page.until(lambda: page.text(".key-prompt .error"))
    page.write(".key-prompt input", f"{token}\n")
    page.until(lambda: page.ids() == ids)


def test_the_python_that_is_copied_finds_the_same(page: Page) -> None:
    page.collection("notes")
    page.ask('the "bank"\\ raised its rates\u202e \U0001f40b')
    page.choose('[data-side="A"] select.mode', "hybrid")
    filter_by(page, "year", "$gte", "1999.5")
    page.until(lambda: page.text(".count") == "50 of 60 records match")
    page.settled()
    code = page.copied()
    assert "\u202e" not in code
    assert ran(code) == [page.ids()]
    page.click('input[value="record"]')
    page.choose('[data-side="A"] select.mode', "dense")
    page.write(".subject input", "cats-10")
    page.press("Ask", ".ask-line")
    page.settled()
    assert "cats-10" not in page.ids()
    assert ran(page.copied()) == [page.ids()]


def ran(code: str) -> Any:
    """The ids that a program prints."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    names["client"].close()
    assert printed.getvalue().strip() == str(names["result"]["ids"][0])
    return names["result"]["ids"]


def test_questions_are_saved_downloaded_and_measured(page: Page, place: Path) -> None:
    page.collection("notes")
    page.ask("E4712 bread")
    page.click(".hit:first-child .wanted input")
    first = page.ids()[0]
    page.press("Save the question")
    page.until(lambda: "kept: 1" in page.text(".save"))
    page.ask("rain on the hills")
    page.explain("Heavy rain falls on the northern hills as ever, note 9.")
    page.click(".reason .wanted input")
    page.press("Save the question")
    page.until(lambda: "kept: 2" in page.text(".save"))
    page.driver.refresh()
    page.view("questions")
    loaded = page.folder / "more.jsonl"
    more = {"query": "interest", "ids": {"banks-1": 2, "nowhere": 1}}
    loaded.write_text(f"{json.dumps(more)}\nno json\n")
    page.one(".files input").send_keys(str(loaded))
    page.until(lambda: "1 loaded; no question in the lines 2" in page.text(".files"))
    queries = [
        {"query": "E4712 bread", "ids": [first]},
        {"query": "rain on the hills", "ids": ["rain-9"]},
        more,
    ]
    assert downloaded(page) == queries
    page.press("Compare with a second setting")
    page.choose('fieldset[data-side="B"] select.mode', "text")
    page.write('fieldset[data-side="A"] input.short', "5")
    page.write('fieldset[data-side="B"] input.short', "5")
    page.press("Run all")
    page.until(lambda: "of 3 questions" in page.text(".sums"))
    with notes_of(place) as notes:
        expected = [
            f"{sum(recall(notes, one, mode) for one in queries) / 3:.4f}"
            for mode in ("dense", "text")
        ]
    page.until(lambda: page.texts(".sum") == expected)
    page.shot("measured")
    page.press("Delete: interest")
    page.until(lambda: len(page.found(".questions tbody tr")) == 2)


def recall(notes: Any, question: dict[str, Any], mode: str) -> float:
    found = notes.query(query_texts=question["query"], n_results=5, mode=mode)["ids"][0]
    return len({*found} & {*question["ids"]}) / len(question["ids"])


def downloaded(page: Page) -> list[Any]:
    """The lines of the downloaded file."""
    folder = page.folder / "downloads"
    allowed = {"behavior": "allow", "downloadPath": str(folder)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    page.press("Download as JSON lines")
    page.until(lambda: [*folder.glob("*.jsonl")])
    (file,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_everything_can_be_reached_with_keys_alone(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    focused = "return document.activeElement.textContent.trim()"
    page.keys(Keys.TAB)
    assert page.read(focused) == "Skip to the content"
    page.keys(Keys.ENTER)
    assert page.read("return document.activeElement.id") == "main"
    tab_to(page, "Collection notes")
    page.keys(Keys.ENTER)
    page.until(lambda: page.text(".details h2") == "notes")
    tab_to(page, "Collections", backwards=True)
    page.keys(Keys.ARROW_RIGHT)
    page.until(lambda: page.found(".card"))
    assert page.read(focused) == "Records"
    page.keys(Keys.END)
    page.until(lambda: page.text(".told"))
    page.keys("/")
    page.until(lambda: page.read("return document.activeElement.id") == "question")
    page.keys(QUESTION, Keys.ENTER)
    page.until(lambda: page.ids())
    first = page.ids()[0]
    tab_to(page, f"Open record {first}")
    page.keys(Keys.ENTER)
    page.until(
        lambda: page.text(".panel h2") == f"Record {first}" and page.found(".panel .neighbours")
    )
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.found(".panel"))
    page.until(lambda: page.read(focused) == first)
    tab_to(page, "or its id")
    page.keys("rain-9", Keys.ENTER)
    page.until(lambda: "it would come at place" in page.text(".verdict"))


def tab_to(page: Page, name: str, backwards: bool = False) -> None:
    """Press the tabulator until the element with this name has the focus, and check that the focus
    is visible."""
    from selenium.webdriver.common.keys import Keys

    named = """
        const one = document.activeElement;
        const label = one.id && document.querySelector(`label[for="${one.id}"]`);
        return one.getAttribute("aria-label") ?? label?.textContent ?? one.textContent.trim()"""
    for _ in range(200):
        page.keys(*([Keys.SHIFT, Keys.TAB, Keys.NULL] if backwards else [Keys.TAB]))
        if page.read(named) == name:
            assert (
                page.read("return getComputedStyle(document.activeElement).outlineStyle") != "none"
            )
            return
    pytest.fail(f"the tabulator doesn't lead to {name}")


def test_every_view_can_be_read_by_all(page: Page, axe: str) -> None:
    run = """
        const [options, done] = arguments;
        axe.run(document, options).then((found) => done(found.violations), (error) => done([error]))"""
    page.driver.set_script_timeout(PATIENCE)
    for name in views(page):
        for scheme in ("light", "dark"):
            page.coloured(scheme)
            page.shot(f"{name}_{scheme}")
            page.read(axe)
            found = page.driver.execute_async_script(run, {"resultTypes": ["violations"]})
            reports = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
            assert not reports, f"{name}, {scheme}"


def test_narrow_windows_show_everything_without_scrolling_sideways(page: Page) -> None:
    page.sized(360, 720)
    for name in views(page):
        page.shot(f"{name}_360")
        for width in (320, 360):
            page.sized(width, 720)
            assert not page.overflowing(), f"{name}, {width}"


def views(page: Page) -> Any:
    """Each view in turn, as full as possible; yields its name."""
    yield "list"
    page.collection("notes")
    yield "collection"
    page.view("records")
    page.until(lambda: page.found(".card"))
    yield "records"
    page.view("query")
    filter_by(page, "year", "$gte", "1992")
    filter_by(page, "year", "$in", "one, two")
    page.choose(".condition:last-of-type select.kind", "number")
    page.click("details.raw summary")
    page.press("Compare with a second setting")
    page.choose('fieldset[data-side="B"] select.mode', "hybrid")
    page.ask("E4712 bread")
    page.until(lambda: page.ids("A") and page.ids("B"))
    for one in page.found(".plan summary, .more summary"):
        page.click(one)
    page.explain("as ever, note 9.")
    yield "query"
    page.click(".hit button.id")
    page.until(lambda: page.found(".panel .neighbours"))
    yield "record"
    page.press("Close", ".panel")
    page.click(".hit .wanted input")
    page.press("Save the question")
    page.view("questions")
    page.press("Run all")
    page.until(lambda: "of 1 question" in page.text(".sums"))
    yield "questions"
    page.view("map")
    page.until(lambda: page.text(".told"))
    page.choose("select.color", "topic")
    page.until(lambda: page.texts(".legend td.number"))
    page.one(".board").send_keys("a")
    page.until(lambda: page.found(".chosen-table tbody tr"))
    yield "map"
    page.read("sessionStorage.clear()")
    page.driver.refresh()
    page.until(lambda: page.found(".key-prompt"))
    yield "key"
