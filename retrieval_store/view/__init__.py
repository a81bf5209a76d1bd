"""A page in the browser that looks into a store, and changes nothing.

The page's JSON comes in, its JSON, pictures and maps go out. `calls` is the table of what the page
may ask, each checked by `checking`; `views` holds the store and what is made for it. `reading`
lists collections and records, `pictures` shows what uris point at, `asking` makes a question of
what is asked and answers it, `why` says why records are found or aren't, `marks` finds the
question's words in documents, `mapping` draws vectors in a plane, and `live` tells when something
has changed, which `watching` looks for. The folder `page` has what the browser gets.

It works on what all stores promise, rather than on `Collection`, since collections with several
vector spaces are looked at, too. It may use `direct`, `places`, `wire`, `loaders`, `embeddings` and
what is below them; `server` sends what it makes.
"""
