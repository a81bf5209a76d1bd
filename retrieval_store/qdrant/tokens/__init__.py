"""Tokens of texts in payloads, as an index of texts that Qdrant has makes them.

In comes a text; out come its tokens. `analysis` says how, of words that `letters` or `scripts` find
in it, which `folding` spells in ASCII, but those in lists of `stopwords`; `described` reads how an
index of texts is described. It may use `errors`, and qdrant-client's models. Words of documents,
which users search, are another thing (`base.words`).
"""
