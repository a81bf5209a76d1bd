"""Texts are cut where a reader would pause."""

import re
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_retrieval_store import AsLangChain
from llama_index.vector_stores.retrieval_store import AsLlamaIndex

from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    MissingDependencyError,
)
from retrieval_store_files import passages_of, read_folder
from retrieval_store_files.readers import FileText, Section
from retrieval_store_files.readers.files import read_file
from retrieval_store_files.readers.passages import cutter_of


def cut(text, longest, **how):
    return passages_of(text, longest, 1, **how)


def test_paragraphs_are_cut_between_sentences():
    text = "One two three four. Five six (seven)! “Eight nine ten.” Eleven e.g. twelve."
    assert cut(text, 8) == [
        "One two three four. Five six (seven)!",
        "“Eight nine ten.” Eleven e.g. twelve.",
    ]
    assert cut("海很大。天很高。", 4) == ["海很大。", "天很高。"]


def test_lists_are_cut_between_items():
    text = "\n".join(f"- item {i} of\n  the list" for i in range(6))
    assert cut(text, 12) == [
        f"- item {i} of\n  the list\n- item {i + 1} of\n  the list" for i in (0, 2, 4)
    ]


def test_a_block_of_code_stays_whole_where_it_fits_and_is_cut_between_lines():
    code = "```\na = 1\n\nb = 2\n```"
    assert cut(f"Words before it.\n\n{code}\n\nWords after.", 9) == [
        "Words before it.",
        code,
        "Words after.",
    ]
    long = "\n".join(f"call({i})" for i in range(10))
    found = cut(f"```\n{long}\n```", 4)
    assert all(re.fullmatch(r"(```|call\(\d\))(\n(```|call\(\d\)))*", one) for one in found)
    section = Section("def f():\n    x = 1. Y\n\n    return x", is_code=True)
    pieces = cutter_of(None, 6, 1).passages(FileText([section]), "")
    assert [one.text for one in pieces] == ["def f():\n    x = 1. Y", "    return x"]


def test_a_table_is_cut_between_rows_below_its_header():
    header = "| a | b |\n| --- | --- |"
    rows = [f"| {i} | x |" for i in range(8)]
    found = cut("\n".join([header, *rows]), 25)
    assert len(found) > 2 and all(one.startswith(header) for one in found)
    assert [row for one in found for row in one.splitlines()[2:]] == rows


def test_passages_overlap_by_sentences_or_else_by_words():
    text = "One two. Three four. Five six. Seven eight."
    assert cut(text, 8, overlap=2) == [
        "One two. Three four. Five six.",
        "Five six. Seven eight.",
    ]
    words = " ".join(f"w{i}" for i in range(20))
    found = cut(words, 8, overlap=3)
    for before, after in pairwise(found):
        assert before.split()[-3:] == after.split()[:3]
    assert cut("# A\n\nOne two.\n\n# B\n\nThree four.", 8, overlap=2) == [
        "A: One two.",
        "A > B: Three four.",
    ]
    with pytest.raises(InvalidArgumentError, match="overlap is 6, but longest 10"):
        cut("x", 10, overlap=6)


def test_passages_know_their_place():
    text = "# Guide\n\n" + "\n\n".join(f"Sentence {i}. And more of {i}." for i in range(30))
    file = read_file(text.encode(), "a.md")
    for overlap in (0, 3):
        for one in cutter_of(None, 12, 3, overlap).passages(file, "a"):
            assert one.text == f"Guide: {text[one.start : one.end]}"
            assert one.headings == ("Guide",)
    about = Section("| a |\n| - |\n" + "| x |\n" * 50, ("T",), 3, 10, 500)
    for one in cutter_of(None, 20, 3).passages(FileText([about]), ""):
        assert (one.page, one.start, one.end, one.headings) == (3, 10, 500, ("T",))


PIECES = st.sampled_from(
    ["Words of a text. ", "And more!\n", "\n\n", "- item\n", "| a | b |\n", "|---|---|\n", "```\n",
     "# Part\n", "    code()\n", "海", "x" * 50, "\t", "1. one\n", "。", "\r\n"]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=60).map("".join), st.integers(4, 40), st.integers(0, 2))
def test_nothing_is_lost_and_nothing_is_too_long(text, longest, overlap):
    file = read_file(text.encode(), "a.md")
    found = cutter_of(None, longest, None, overlap).passages(file, "")
    for section in file.sections:
        covered = [one for one in found if section.start <= one.start < section.end]
        for start, end in re.findall(r"()\S()", section.text) and [(section.start, section.end)]:
            kept = {i for one in covered for i in range(one.start, one.end)}
            lost = [text[i] for i in range(start, end) if i not in kept]
            assert not re.search(r"\w", "".join(lost))


@pytest.mark.parametrize("mark", ["# {}", "###### {} ######"])
def test_text_too_long_for_a_heading_has_its_own_passages(mark):
    words = [f"word{i}" for i in range(260)]
    found = passages_of(mark.format(" ".join(words)) + "\n\nThe next paragraph.\n")
    assert re.findall(r"word\d+", " ".join(found[:-1]))[-1] == "word259"
    assert {*words} <= {*re.findall(r"word\d+", " ".join(found))}
    assert found[-1].endswith(": The next paragraph.")
    assert max(len(one.split()) for one in found) <= 200


@pytest.mark.parametrize("rule", ["---", "===", "-" * 3_000])
def test_a_paragraph_above_a_rule_is_no_heading(rule):
    words = [f"word{i}" for i in range(260)]
    found = passages_of(f"{' '.join(words)}\n{rule}\n\nThe next paragraph.\n")
    assert re.findall(r"word\d+", " ".join(found)) == words
    assert found[-1].endswith("The next paragraph.") and len(found) == 2


def test_an_outer_heading_that_fits_in_no_passage_is_reported_once():
    outer, inner = "a b c d e f g", "h i j k l m n"
    found = cut(f"# {outer}\n\n## {inner}\n\nx y\n\n## {inner} o\n\nz", 16)
    assert found == [f"{inner}: {outer}", f"{inner}: x y", f"{inner} o: z"]
    # A heading that another passage begins with isn't repeated.
    assert cut(f"# {outer}\n\nx\n\n## {inner}\n\ny", 16) == [f"{outer}: x", f"{inner}: y"]


TITLES = st.lists(st.integers(0, 30), max_size=4)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(TITLES, st.integers(0, 60)), max_size=6),
    st.integers(0, 30),
    st.integers(4, 40),
    st.integers(0, 2),
)
def test_each_word_of_headings_and_texts_is_in_a_passage(parts, titled, longest, overlap):
    words = []

    def text(number):
        words.extend(f"w{len(words) + i}" for i in range(number))
        return " ".join(words[len(words) - number :])

    title = text(titled) or None
    sections = [Section(text(number), tuple(map(text, heads))) for heads, number in parts]
    found = cutter_of(None, longest, None, overlap).passages(FileText(sections, title), "name")
    if any(section.text or any(section.headings) for section in sections):
        assert {*words} <= {*re.findall(r"w\d+", " ".join(one.text for one in found))}
    assert max((len(one.text.split()) for one in found), default=0) <= longest


class Counting:
    """A function of 100 tokens, which are words, that records how many characters it counts."""

    max_tokens = 100

    def __init__(self):
        self.characters = []

    def count_tokens(self, texts):
        self.characters.append(sum(map(len, texts)))
        return [len(text.split()) for text in texts]

    def __call__(self, texts):
        raise NotImplementedError


def test_a_log_is_cut_between_lines_and_never_counted_as_a_whole():
    lines = [f"10:00:{i:05} worker {i % 7} handled request {i}" for i in range(60_000)]
    text, embed = "\n".join(lines), Counting()
    found = passages_of(text, function=embed)
    assert [line for one in found for line in one.splitlines()] == lines
    assert len(text) > 2_000_000 and max(embed.characters) < 1_000_000
    assert sum(embed.characters) < 3 * len(text)


class Away:
    """A function whose model can't be loaded."""

    def __init__(self, error):
        self.error = error

    @property
    def max_tokens(self):
        raise self.error

    def __call__(self, texts):
        raise self.error


def test_nothing_is_cut_for_a_model_that_cannot_be_loaded(tmp_path):
    (tmp_path / "a.md").write_text("# A\n\nwords " * 300)
    away = Away(EmbeddingFunctionError("the model is away"))
    for use in (
        lambda: passages_of("text", function=away),
        lambda: list(read_folder(tmp_path, function=away)),
    ):
        with pytest.raises(EmbeddingFunctionError, match="the model is away"):
            use()
    assert [*read_folder(tmp_path, function=Away(RuntimeError("odd")))]  # by its author


@pytest.mark.parametrize("kind", [AsLangChain, AsLlamaIndex])
def test_a_function_without_its_package_is_refused_by_the_frameworks_too(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="needs onnxruntime"):
        kind("minilm")
