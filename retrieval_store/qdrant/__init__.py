"""The front in the shape of Qdrant's client.

`filters` parses its filters, and says by which values a facet counts and a scroll is ordered;
`paths` parses paths into payloads, `text` what an index of texts is described as. It may use
`filters`, `base` and `errors`.
"""
