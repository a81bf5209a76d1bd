"""Serves a page that displays a store in the browser, and changes nothing.

The page sends JSON, and receives JSON, images and maps. `calls` is the table of the page's
requests, and `checks` validates the requests. `records` lists collections and records, and draws
maps. `pictures` loads images and draws pages of PDFs, in a process with limits. `query` answers
queries, explains results and marks words in documents. `live` watches for changes. The folder
`page` has the files for the browser.

The package uses the interface of stores instead of `Collection`, since a collection may have
several vector spaces. A query is built as in `Collection.query`, and explained as in
`Collection.why`. This package may import `native`, the public parts of the core, and
`retrieval_store.extension`.
"""
