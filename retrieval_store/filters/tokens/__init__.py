"""Tokens of texts in payloads, as an index of texts that Qdrant has makes them.

In comes a text; out come its tokens. `analysis` says how, of words that `letters` or `scripts` find
in it, which `folding` spells in ASCII, but those in lists of `stopwords`. It may use `errors`.
Words of documents, which users search, are another thing (`base.words`).
"""
