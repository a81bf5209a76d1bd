"""A page in the browser that looks into a store, and changes nothing.

The page's JSON comes in; JSON, pictures and maps go out. `calls` is the table of what the page may
ask, and `checks` checks it. `records` lists collections and records, and draws maps; `pictures`
loads images and draws pages of PDFs, in a process with limits; `query` answers queries, explains
results and marks words in documents; `live` watches for changes. The folder `page` has what the
browser gets.

It works with any store rather than with `Collection`, since collections may have several vector
spaces; a question is made as `Collection.query` makes it, and explained as `Collection.why` does.
It may use `native`, and of the core what users may, and `retrieval_store.extension`.
"""
