"""Repeated filters, new ones, and narrowed ones, in any order and through several interfaces,
between writes that affect them. The oracle is a predicate on one record.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests.helpers import oracle, steps
from tests.helpers.asked import UPKEEP, Asked, calls, turns, whoever
from tests.helpers.filter_strategies import (
    KEYS,
    documents,
    metadatas,
    records,
    where_documents,
    wheres,
    wheres_about,
)
from tests.helpers.tuned import tuned, use_trigrams

pytestmark = [pytest.mark.embedded, pytest.mark.property]
EXPIRES = "gone at"
WAYS = st.fixed_dictionaries(
    {
        "changes_kept": st.sampled_from([1_024, 3]),
        "filters_followed": st.sampled_from([1_024, 2]),
        "cost_of_beginning": st.sampled_from([3, 0]),
        "cost_of_looking": st.sampled_from([0.4, 0.0, 9.0]),
        "few_listed": st.sampled_from([500, 1]),
        "sampled_rows": st.sampled_from([1_000, 4]),
        "asked_conditions": st.sampled_from([64, 3]),
        "changed_rows": st.sampled_from([1_000, 2]),
        "looked_up_at_once": st.sampled_from([500, 0.1]),
        "first_look": st.integers(1, 3),
        "counted_at_least": st.just(2),
    }
)
numbers = st.integers(0, 15)
filled = metadatas.map(lambda metadata: metadata or {})
ways_to_ask = st.sampled_from(["get", "page", "count", "query", "named", "facet"])
several_ways = st.lists(ways_to_ask, min_size=1, max_size=3)
places = st.integers(0, 99)
EVENTS = {
    "write": (numbers, filled, documents),
    "mix": (st.sets(numbers, min_size=1, max_size=5), places),
    "set_a_key": (numbers, st.sampled_from(KEYS), st.sampled_from([0, 1, True, "x"])),
    "set_a_text": (numbers, documents.filter(bool)),
    "delete": (numbers,),
    "change_places": (numbers, numbers),
    "expire": (numbers, st.sampled_from([-5, 5, 50])),
    "time_passes": (st.sampled_from([1, 10]),),
    "delete_matching": (places,),
}
QUESTIONS = {
    "ask_known": (whoever, places, several_ways),
    "ask_together": (whoever, places, places, ways_to_ask),
    "ask_alike": (whoever, st.sampled_from([1, True, 1.0, "1"]), ways_to_ask),
    "ask_all": (ways_to_ask,),
}


class Filters(Asked):
    """held: metadata and document by id, in the order of insertion; known: filters used before."""

    @initialize(on_disk=st.booleans(), ways=WAYS, trigrams=st.booleans(), found=records)
    def begin(self, on_disk, ways, trigrams, found):
        self.open(on_disk, {"expires": EXPIRES})
        self.now = 1_000.0
        steps.replace(self.patch, "tell_time_of_expiry", lambda: self.now)
        tuned(self.patch, **ways)
        if trigrams:
            use_trigrams(self.patch)
        self.held, self.known = {}, [({"a": 1}, None), (None, {"$contains": "a"})]
        self.put([(f"r{i}", (metadata or {}, text)) for i, (metadata, text) in enumerate(found)])

    # Writes

    def put(self, points):
        self.things.upsert(
            ids=[one for one, _ in points],
            embeddings=[[float(one[1:])] for one, _ in points],
            metadatas=[metadata for _, (metadata, _) in points],
            documents=[text for _, (_, text) in points],
            replace_metadata=True,
        )
        for one, (metadata, text) in points:
            before = self.held.get(one, (None, None))[1]
            self.held[one] = metadata, before if text is None else text

    def write(self, number, metadata, text):
        self.put([(f"r{number}", (metadata, text))])

    def mix(self, numbers, place):
        """Give the metadata and texts of some points to others."""
        given = [*self.held.values()]
        if given:
            self.put([(f"r{i}", given[(place + i) % len(given)]) for i in numbers])

    def set_a_key(self, number, key, value):
        if (one := f"r{number}") in self.held:
            self.things.update(ids=one, metadatas={key: value})
            metadata, text = self.held[one]
            self.held[one] = {**metadata, key: value}, text

    def set_a_text(self, number, text):
        if (one := f"r{number}") in self.held:
            self.things.update(ids=one, embeddings=[[float(number)]], documents=text)
            self.held[one] = self.held[one][0], text

    def delete(self, number):
        self.things.delete(ids=f"r{number}")
        self.held.pop(f"r{number}", None)

    def change_places(self, number, other):
        self.delete(number)
        self.put([(f"r{other}", ({"a": 1, "b": "x"}, "ab"))])

    def expire(self, number, seconds):
        self.put([(f"r{number}", ({"a": 1, EXPIRES: self.now + seconds}, "ab"))])
        self.time_passes(0)

    def time_passes(self, seconds):
        self.now += seconds
        for one, (metadata, _) in [*self.held.items()]:
            if metadata.get(EXPIRES, self.now + 1) <= self.now:
                del self.held[one]

    # Questions

    def fulfils(self, one, where, where_document):
        metadata, text = self.held[one]
        return (where is None or oracle.matches(metadata, where)) and (
            where_document is None or oracle.document_matches(text, where_document)
        )

    def ask(self, who, asked, way, number=0):
        where, where_document = asked
        given = {"where": where, "where_document": where_document}
        things, matching = self.asker(who), [one for one in self.held if self.fulfils(one, *asked)]
        match way:
            case "get":
                assert things.get(**given, include=[])["ids"] == matching
            case "page":
                page = things.get(**given, limit=3, offset=number % 4, include=[])["ids"]
                assert page == matching[number % 4 :][:3]
            case "count":
                assert things.count(**given) == len(matching)
            case "query":
                query = [float(number) + 0.3]
                near = sorted(matching, key=lambda one: abs(float(one[1:]) - query[0]))
                found = things.query(query_embeddings=query, n_results=5, **given)
                assert found["ids"] == [near[:5]]
            case "named":
                named = [f"r{i}" for i in range(15, -1, -2)]
                chosen = [one for one in named if one in matching]
                assert things.get(ids=named, **given, include=[])["ids"] == chosen
            case "facet":
                counted = oracle.facet([self.held[one][0] for one in matching], "a")
                assert things.facet("a", limit=None, **given) == counted

    def ask_known(self, who, at, ways):
        for number, way in enumerate(ways):
            self.ask(who, self.known[at % len(self.known)], way, at + number)

    def ask_new(self, who, asked, ways):
        self.known = [*self.known[-7:], asked]
        for number, way in enumerate(ways):
            self.ask(who, asked, way, number)

    def ask_together(self, who, at, other, way):
        """Two known filters whose operators differ only in name."""
        known = [where for where, _ in self.known if where is not None]
        terms = [known[at % len(known)], known[other % len(known)]]
        for operator in ("$and", "$or", "$nor"):
            self.ask(who, ({operator: terms}, None), way, at)

    def ask_alike(self, who, value, way):
        """Filters by equal values."""
        for condition in (value, {"$ne": value}, {"$in": [value]}, {"$nin": [value]}):
            self.ask(who, ({"a": condition}, None), way)

    def ask_all(self, way):
        for who in range(len(self.all_things)):
            for query in self.known:
                self.ask(who, query, way)

    def delete_matching(self, at):
        where, where_document = self.known[at % len(self.known)]
        gone = [one for one in self.held if self.fulfils(one, where, where_document)]
        if 0 < len(gone) < 4:
            self.things.delete(where=where, where_document=where_document)
            for one in gone:
                del self.held[one]

    @rule(
        event=calls(EVENTS),
        upkeep=calls(UPKEEP),
        who=whoever,
        ways=several_ways,
        question=calls(QUESTIONS),
        data=st.data(),
    )
    def turn(self, event, upkeep, who, ways, question, data):
        """A new filter on the content, then an event, then repeated queries."""
        where = data.draw(st.none() | wheres_about([*self.held.values()]) | wheres)
        where_document = data.draw(st.none() | where_documents if where else where_documents)
        self.ask_new(who, (where, where_document), ways)
        self.call(event)
        self.call(question)
        self.call(upkeep)
        self.ask_known(who, -1, ways)


def test_filters_match_right_after_any_queries_and_writes():
    run_state_machine_as_test(Filters, settings=turns(12, 10))
