"""A store as tools for agents: programs that a language model steers.

`tools` answers the calls by a store's collections (`sources`). `definitions` has what a model reads
of each, `arguments` checks what it sends, `answers` words what it gets, as text and as data, and
`memories` says when records are to be forgotten. `mcp` serves them by the Model Context Protocol,
over standard input and output or over HTTP; LangChain's and LlamaIndex's stores make tools of the
same ones. `command` is `retrieval-store mcp`, which the core finds as a plugin. It may use the
core, the gate of `retrieval_store_server`, and its pictures. Of the package `mcp` nothing is loaded
before a server is made.
"""
