"""Twelve filters (`where` and `where_document`) on four books. Needs no embedding model.

python examples/metadata_filters.py
"""

import retrieval_store

BOOKS = {
    "moby-dick": ("Call me Ishmael.", {"year": 1851, "lang": "en", "tags": ["sea", "whale"]}),
    "emma": ("Emma Woodhouse, handsome, clever, and rich", {"year": 1815, "lang": "en"}),
    "faust": ("Habe nun, ach! Philosophie", {"year": 1808, "lang": "de", "tags": ["devil"]}),
    "candide": ("Il y avait en Westphalie", {"year": 1759, "lang": "fr", "rating": 4.5}),
}

FILTERS = {
    "equal": {"where": {"lang": "en"}},
    "a range; several operators mean and": {"where": {"year": {"$gte": 1800, "$lt": 1850}}},
    "several keys mean and": {"where": {"lang": "en", "year": {"$gt": 1820}}},
    "one of": {"where": {"lang": {"$in": ["de", "fr"]}}},
    "not equal; books without the key match": {"where": {"rating": {"$ne": 4.5}}},
    "inside lists": {"where": {"tags": {"$contains": "sea"}}},
    "inside strings": {"where": {"lang": {"$contains": "e"}}},
    "the beginning of strings": {"where": {"lang": {"$prefix": "e"}}},
    "or, nested": {
        "where": {"$or": [{"year": {"$lt": 1800}}, {"$and": [{"lang": "de"}, {"year": 1808}]}]}
    },
    "text in the document": {"where_document": {"$contains": "Ishmael"}},
    "a regular expression (RE2)": {"where_document": {"$regex": r"\b[Ee]mma\b.*rich"}},
    "both at once": {"where": {"lang": "en"}, "where_document": {"$not_contains": "Emma"}},
}


def main() -> None:
    with retrieval_store.Client() as client:
        books = client.create_collection("books", embedding_function=None)
        books.add(
            ids=list(BOOKS),
            embeddings=[[float(i), 1.0] for i in range(len(BOOKS))],
            documents=[first_words for first_words, _ in BOOKS.values()],
            metadatas=[metadata for _, metadata in BOOKS.values()],
        )
        for meaning, filters in FILTERS.items():
            print(f"{meaning}\n    {filters}\n    {', '.join(books.get(**filters)['ids'])}")
        nearest = books.query(query_embeddings=[0.0, 1.0], n_results=2, where={"lang": "en"})
        print(f"the two nearest English books: {', '.join(nearest['ids'][0])}")


if __name__ == "__main__":
    main()
