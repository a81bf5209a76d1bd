"""Queries by words, substrings and patterns, in any order, between added, changed and deleted
documents, and maintenance of their lists. The oracle is BM25 by its formula, and `in`.
"""

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests.helpers import inside
from tests.helpers.asked import UPKEEP, Asked, calls, turns, whoever
from tests.helpers.oracle import bm25, document_matches
from tests.helpers.tuned import tuned, use_trigrams

pytestmark = [pytest.mark.embedded, pytest.mark.property]
WORDS = ("ant", "bee", "cat", "dog", "eel", "fox")
words = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
phrases = st.lists(words, min_size=1, max_size=6)
numbers = st.integers(0, 60)
marks = st.sampled_from("xy")
asked_words = st.lists(st.sampled_from([*WORDS, "x1", "y2"]), min_size=1, max_size=3)
writes_beside = st.lists(st.tuples(st.integers(1, 9), numbers), max_size=3)
EVENTS = {
    "load": (numbers, st.integers(1, 20), phrases, marks),
    "replace_one": (numbers, words),
    "come_and_go": (numbers, st.sampled_from(WORDS)),
    "leave_no_document": (numbers,),
    "set_a_number": (numbers,),
    "delete": (st.integers(0, 9), st.integers(2, 9)),
    "delete_matching": (st.sampled_from(WORDS),),
    "other_stopwords": (st.sets(st.sampled_from(WORDS), max_size=1),),
    "maintain_beside": (st.booleans(), writes_beside),
}
QUESTIONS = {
    "ask": (
        whoever,
        asked_words.map(" ".join),
        st.sampled_from([3, 99]),
        st.none() | st.integers(0, 2),
    ),
    "ask_what_documents_hold": (
        whoever,
        st.sampled_from([*WORDS, "t c", "at d", "x", " x1", "none"]),
        st.sampled_from(["$contains", "$not_contains", "$regex", "$not_regex"]),
    ),
}


class Words(Asked):
    """held: document and number by id, in the order of insertion."""

    @initialize(on_disk=st.booleans(), trigrams=st.booleans(), rows=st.sampled_from([7, 500]))
    def begin(self, on_disk, trigrams, rows):
        self.open(on_disk)
        if trigrams:
            use_trigrams(self.patch)
        tuned(
            self.patch, lists_worth=10, rows_listed_ahead=5, rows_of_text_in_a_step=rows,
            rows_of_text_at_once=20, rows_listed_beside_writers=25, dead_rows_tolerated=10,
            longest_pause_beside_writers=0, lists_pause=0, seconds_until_quiet=0,
            rows_measured_ahead=3,
        )  # fmt: skip
        self.held, self.stopwords = {}, set()
        self.write(range(40), ["ant", "bee cat", "cat cat dog", "eel"], "x")

    # Writes

    def write(self, chosen, texts, mark):
        chosen = [*chosen]
        given = [f"{texts[i % len(texts)]} {mark}{i % 5}" for i in chosen]
        self.things.upsert(
            ids=[str(i) for i in chosen],
            documents=given,
            embeddings=np.ones((len(chosen), 1)),
            metadatas=[{"n": i % 3} for i in chosen],
        )
        for i, text in zip(chosen, given, strict=True):
            self.held[str(i)] = text, i % 3

    def load(self, first, count, texts, mark):
        self.write(range(first, first + count), texts, mark)

    def replace_one(self, number, text):
        if str(number) in self.held:
            self.things.update(ids=str(number), documents=text or "z", embeddings=[[1.0]])
            self.held[str(number)] = text or "z", self.held[str(number)][1]

    def come_and_go(self, number, word):
        """A word that appears from one query for it to the next, or disappears."""
        for text in (word, "gnu", word, "gnu"):
            self.replace_one(number, text)
            self.ask_what_documents_hold(0, word, "$contains")

    def set_a_number(self, number):
        if str(number) in self.held:
            self.things.update(ids=str(number), metadatas={"n": 2})
            self.held[str(number)] = self.held[str(number)][0], 2

    def leave_no_document(self, number):
        self.things.delete(ids=str(number))
        self.things.add(ids=str(number), embeddings=[[1.0]], metadatas=[{"n": 1}])
        self.held.pop(str(number), None)
        self.held[str(number)] = None, 1

    def delete(self, first, share):
        if gone := [*self.held][first::share]:
            self.things.delete(ids=gone)
        for one in gone:
            del self.held[one]

    def delete_matching(self, word):
        gone = [one for one, (text, _) in self.held.items() if text and word in text]
        if len(gone) < 8:
            self.things.delete(where_document={"$contains": word})
            for one in gone:
                del self.held[one]

    def other_stopwords(self, stopwords):
        self.things.modify(configuration={"text": {"stopwords": sorted(stopwords)}})
        self.stopwords = stopwords
        self._opened()  # the others learn of it when they get the collection

    def maintain_beside(self, is_quiet, writes):
        """writes: one at each step of maintenance, from one number on."""
        tuned(self.patch, seconds_until_quiet=0 if is_quiet else 60)
        done = []

        def write(*_):
            done.append(None)
            for step, first in writes:
                if step == len(done):
                    self.write(range(first, first + 3), ["fox fox"], "y")

        inside.run.run_once(inside.access(self.things), write)

    # Questions

    def best(self, asked, k, n):
        """The hits by the formula; ties in the order of insertion."""
        words = " ".join(word for word in asked.split() if word not in self.stopwords)
        ids = [one for one, (text, _) in self.held.items() if self.indexed(text)]
        if not ids or not words:
            return [], []
        scores = bm25([self.indexed(self.held[one][0]) for one in ids], words)
        found = {one: score for one, score in zip(ids, scores, strict=True) if score > 0}
        found = {one: s for one, s in found.items() if n is None or self.held[one][1] == n}
        places = {one: place for place, one in enumerate(self.held)}
        order = sorted(found, key=lambda one: (-round(found[one], 5), places[one]))[:k]
        return order, [found[one] for one in order]

    def indexed(self, text):
        return " ".join(word for word in (text or "").split() if word not in self.stopwords)

    def ask_words(self, things, asked, k=99, n=None):
        where = None if n is None else {"n": n}
        found = things.query(query_texts=asked, mode="text", n_results=k, where=where)
        ids, scores = self.best(asked, k, n)
        assert np.allclose(found["scores"][0], scores, rtol=1e-4)
        if k == 99:
            assert sorted(found["ids"][0]) == sorted(ids)

    def ask(self, who, asked, k, n):
        for _ in range(2):
            self.ask_words(self.asker(who), asked, k, n)

    def ask_what_documents_hold(self, who, text, operator):
        where = {operator: text}
        holders = [one for one, (held, _) in self.held.items() if document_matches(held, where)]
        for _ in range(2):
            found = self.asker(who).get(where_document=where, include=[])["ids"]
            assert found == holders
        assert self.asker(who).count(where_document=where) == len(holders)

    @rule(
        event=calls(EVENTS),
        upkeep=calls(UPKEEP),
        questions=st.lists(calls(QUESTIONS), min_size=2, max_size=2),
    )
    def turn(self, event, upkeep, questions):
        """The same queries after a write, and after events that don't change the results."""
        for call in (event, upkeep):
            self.call(call)
            for question in questions:
                self.call(question)

    def teardown(self):
        if hasattr(self, "clients"):
            assert not any(report.problem for report in self.clients[0].verify())
        super().teardown()


def test_words_are_found_after_any_queries_and_writes():
    run_state_machine_as_test(Words, settings=turns(12, 10))
