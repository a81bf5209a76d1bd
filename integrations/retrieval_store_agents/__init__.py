"""A store as tools for agents: programs that a language model steers.

`tools` has the tools: what a model reads of each, the check of what it sends, and the calls of a
store's collections that answer it, as text and as data. `mcp` serves them by the Model Context
Protocol, over standard input and output or over HTTP; LangChain's and LlamaIndex's stores make
tools of the same ones. `command` is `retrieval-store mcp`, which the core finds as a plugin. It may
use `retrieval_store.api`, the gate of `retrieval_store_server` and the pictures of
`retrieval_store_server.view`. Of the package `mcp` nothing is loaded before a server is made.
"""
