"""`RetrievalStoreVectorStore` is a collection as a vector store of LlamaIndex.

Its fields name the collection, and say how the collection is created; `from_params` takes the
arguments of Chroma's vector store instead. Nodes are written as records, in batches (`batches_of`).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr, ValidationError
from llama_index.core.schema import BaseNode
from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from llama_index.vector_stores.retrieval_store.nodes import points_of_documents, text_of, to_payload
from llama_index.vector_stores.retrieval_store.queries import (
    RESTRICTIONS,
    QueryAnswerer,
    SparseModel,
    check_fusion,
    fields_of,
    filters_of_query,
    ids_of,
    model_of,
    nodes_of,
)

from retrieval_store import Client, Collection, Explanation
from retrieval_store.embeddings.frameworks import FromLlamaIndex
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, StorageError
from retrieval_store.filters.expression import And
from retrieval_store.frameworks import (
    OTHER_NAMES,
    OpenedCollection,
    async_twin,
    items_of,
    needing,
    open_collection,
    quote,
    refuse_unknown,
    store_path,
    whole_number,
)

if TYPE_CHECKING:
    from retrieval_store_agents import StoreTools

_OTHER_NAMES = {
    "embed_model" if name == "embedding" else name: others for name, others in OTHER_NAMES.items()
}
OF_COLLECTIONS = ("configuration", "metadata")


def refuse_unknown_fields(
    kind: type[BasePydanticVectorStore], arguments: Mapping[str, Any]
) -> None:
    """Raise InvalidTypeError for an argument that this kind of store doesn't have."""
    unknown = set(arguments) - set(kind.model_fields) - {"class_name"}
    if unknown:
        ours = [name for name, others in _OTHER_NAMES.items() if min(unknown) in others]
        hint = (
            "; what a cluster wants to know, such as a key, goes to Client(url=…, …), and that in "
            "as client="
        )
        if ours:
            hint = f": here it is {ours[0]}"
        raise InvalidTypeError(f"{min(unknown)!r} is no argument of {kind.__name__}{hint}")


def field_error(error: ValidationError) -> InvalidTypeError:
    """An InvalidTypeError for an argument that pydantic refused, with this package's wording."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"]))
    return InvalidTypeError(f"{name} is {quote(first['input'])}: {first['msg']}")


def url_of(host: str | None, port: Any, ssl: bool, headers: Any) -> str | None:
    """The URL of a server or cluster, from its parts; None without a host. Raises
    InvalidArgumentError for invalid parts, and for headers, because only a `Client` takes
    headers."""
    if headers:
        raise InvalidArgumentError(
            "headers go to the client: client=Client(url=…, headers=…), or api_key=…"
        )
    if host is None:
        if port is not None or ssl:
            raise InvalidArgumentError("port and ssl go with host")
        return None
    if not isinstance(host, str) or not host:
        raise InvalidArgumentError(f"host is {quote(host)}, expected the name of a machine")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int | str)):
        raise InvalidTypeError(f"port is {quote(port)}, expected a number")
    is_ipv6 = host.count(":") > 1 and not host.startswith("[")
    shown = f"[{host}]" if is_ipv6 else host
    return f"http{'s' if ssl else ''}://{shown}{'' if port is None else f':{port}'}"


def check_places(places: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError unless exactly one of the places is set. places: directories and
    URLs, by argument name."""
    named = [name for name, value in places.items() if value is not None]
    if len(named) != 1:
        raise InvalidArgumentError(
            f"expected one of {', '.join(places)}, got {' and '.join(named) or 'none'}"
        )
    for name in ("persist_dir", "path"):
        store_path(places[name], name)


def arguments_of_store(collection_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The constructor's arguments that correspond to `collection_kwargs` of Chroma's vector
    store."""
    settings = {} if collection_kwargs is None else collection_kwargs
    if not isinstance(settings, Mapping):
        raise InvalidTypeError(
            f"collection_kwargs is {quote(settings)}, expected a dict of "
            f"{' and '.join(OF_COLLECTIONS)}"
        )
    refuse_unknown(settings, OF_COLLECTIONS, "collection_kwargs")
    made = {
        "configuration": settings.get("configuration"),
        "collection_metadata": settings.get("metadata"),
    }
    return {name: value for name, value in made.items() if value is not None}


@dataclass(frozen=True, slots=True)
class NodeBatch:
    """A batch of nodes to write, and their metadata."""

    nodes: Sequence[BaseNode]
    payloads: Sequence[dict[str, Any]]

    def arguments(self, sparse: SparseModel | None) -> dict[str, Any]:
        """The arguments for `Collection.upsert`."""
        fields = {
            "ids": [node.node_id for node in self.nodes],
            "embeddings": [node.embedding for node in self.nodes],
            "documents": [text_of(node) for node in self.nodes],
            "metadatas": self.payloads,
        }
        if sparse is not None:
            fields["sparse_embeddings"] = sparse.vectors_of_nodes(self.nodes)
        return fields


def batches_of(nodes: Sequence[BaseNode], size: int | None) -> list[NodeBatch]:
    """The nodes in batches; a single batch if `size` is None. If several nodes have the same id,
    only the last one is kept. Raises InvalidArgumentError for a node that cannot be stored."""
    step = None if size is None else whole_number(size, "batch_size", 1)
    for node in nodes:
        if not isinstance(node.node_id, str):
            raise InvalidTypeError(f"a node has the id {quote(node.node_id)}, expected a str")
    last = list({node.node_id: node for node in nodes}.values())
    for node in last:
        if node.embedding is None:
            raise InvalidArgumentError(f"node {node.node_id!r} has no embedding")
    payloads = [to_payload(node) for node in last]
    step = step or max(1, len(last))
    return [
        NodeBatch(last[i : i + step], payloads[i : i + step]) for i in range(0, len(last), step)
    ]


class RetrievalStoreVectorStore(BasePydanticVectorStore):
    """A collection of retrieval-store for LlamaIndex.

    Similarities are scores, greater is better. By default they are the cosine, the negative
    distance or the product, as in LlamaIndex's own `similarity`. In text modes they are BM25
    scores, in hybrid mode weighted sums.

    A store that was made with `path` or `url` can be pickled, copied and, without functions,
    converted to a dict. The copy opens the store again.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    flat_metadata: bool = False
    collection_name: str = "llama_index"
    path: str | None = None
    url: str | list[str] | None = None
    distance: str | None = None
    configuration: dict[str, Any] | None = None
    collection_metadata: dict[str, Any] | None = None
    text_key: str | None = None
    batch_size: int | None = None
    enable_hybrid: bool | None = None
    check_model: bool = True

    _opened: OpenedCollection = PrivateAttr()
    _reopens: bool = PrivateAttr(default=True)
    _functions: dict[str, Any] = PrivateAttr(default_factory=dict)
    _sparse: SparseModel | None = PrivateAttr(default=None)

    def __init__(
        self,
        *,
        collection_name: str = "llama_index",
        path: Any = None,
        url: str | Sequence[str] | None = None,
        client: Client | None = None,
        collection: Collection | None = None,
        distance: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        collection_metadata: Mapping[str, Any] | None = None,
        text_key: str | None = None,
        batch_size: int | None = None,
        enable_hybrid: bool | None = None,
        sparse_model: Any = None,
        sparse_doc_fn: Callable[..., Any] | None = None,
        sparse_query_fn: Callable[..., Any] | None = None,
        hybrid_fusion_fn: Any = None,
        embed_model: Any = None,
        check_model: bool = True,
        **kwargs: Any,
    ) -> None:
        """Open a collection, or create it. Stores that are opened on one path share it.

        Args:
            collection_name: the name of the collection.
            path: the store's directory.
            url: the URL of a served store or a Qdrant cluster; a list names several nodes of a
                cluster.
            client: an open client; without path, url and client the store is in memory.
            collection: an open collection, instead of the arguments above.
            distance: "cosine" (the default), "l2" or "ip", for a collection that is created here.
            configuration: as in `Client.create_collection`, for a collection that is created here.
            collection_metadata: the metadata of a collection that is created here.
            text_key: the metadata key of the text, for points that other programs wrote without a
                document.
            batch_size: how many nodes are added at once; by default all.
            enable_hybrid: False refuses a sparse model; otherwise it has no effect, since hybrid
                queries need no model.
            sparse_model: computes sparse vectors, which replace BM25 in the modes sparse and
                hybrid.
            sparse_doc_fn: computes the sparse vectors of documents, as in LlamaIndex's stores;
                instead of a model.
            sparse_query_fn: computes the sparse vectors of queries.
            hybrid_fusion_fn: "adaptive", "weighted", "rrf", or a function of (dense_result,
                sparse_result, alpha=, top_k=). The default is "adaptive". It is "weighted" if the
                query sets alpha, or if sparse vectors replace BM25.
            embed_model: the index's embedding. A collection stores which model it uses, and refuses
                other models. For `AsLlamaIndex` the collection stores the wrapped function, so that
                every client can search by text. Without embed_model, the collection's own function
                embeds the queries of `as_tools`, and only the dimension of nodes is checked.
            check_model: False to accept another model than the stored one.
            **kwargs: none; an unknown argument is refused.

        Raises:
            ConflictError: distance, settings or embedding contradict the existing collection.
            InvalidTypeError: an unknown argument.
        """
        refuse_unknown_fields(type(self), kwargs)
        size = None if batch_size is None else whole_number(batch_size, "batch_size", 1)
        if not (embed_model is None or isinstance(embed_model, BaseEmbedding)):
            raise InvalidTypeError(
                f"embed_model is {quote(embed_model)}, expected an embedding of LlamaIndex's"
            )
        if hybrid_fusion_fn is not None:
            check_fusion(hybrid_fusion_fn, "hybrid_fusion_fn")
        model = model_of(sparse_model, sparse_doc_fn, sparse_query_fn, enable_hybrid)
        directory = store_path(path)
        try:
            super().__init__(
                collection_name=(
                    collection.name if isinstance(collection, Collection) else collection_name
                ),
                path=None if directory is None else str(directory),
                url=url,
                distance=distance,
                configuration=configuration,
                collection_metadata=collection_metadata,
                text_key=text_key,
                batch_size=size,
                enable_hybrid=enable_hybrid,
                check_model=check_model,
                **kwargs,
            )
        except ValidationError as error:
            raise field_error(error) from error
        self._functions = {
            "sparse_model": sparse_model,
            "sparse_doc_fn": sparse_doc_fn,
            "sparse_query_fn": sparse_query_fn,
            "hybrid_fusion_fn": hybrid_fusion_fn,
            "embed_model": embed_model,
        }
        self._sparse = model
        self._opened = open_collection(
            collection_name,
            path=path,
            url=url,
            client=client,
            collection=collection,
            distance=self.distance,
            configuration=self.configuration,
            metadata=self.collection_metadata,
            embedding_function=None if embed_model is None else FromLlamaIndex(embed_model),
            check_model=check_model,
            sparse_model=None if model is None else model.documents,
        )
        self._reopens = path is not None or url is not None

    @classmethod
    def from_collection(cls, collection: Collection, **kwargs: Any) -> "RetrievalStoreVectorStore":
        """A store on an open collection; takes the other arguments of the constructor."""
        return cls(collection=collection, **kwargs)

    @classmethod
    def from_params(
        cls,
        collection_name: str = "llama_index",
        host: str | None = None,
        port: int | str | None = None,
        ssl: bool = False,
        headers: dict[str, str] | None = None,
        persist_dir: Any = None,
        collection_kwargs: dict[str, Any] | None = None,
        *,
        path: Any = None,
        url: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> "RetrievalStoreVectorStore":
        """A store in a directory or at a URL; the arguments have the names that Chroma's store
        uses.

        Args:
            collection_name: the name of the collection.
            host: the host of a served store or a Qdrant cluster.
            port: the server's port.
            ssl: whether to use https.
            headers: refused; pass headers to a client, and pass the client as client=.
            persist_dir: the directory of a store.
            collection_kwargs: `configuration` and `metadata` of a collection that is created.
            path: the same as persist_dir.
            url: the same as host and port.
            **kwargs: the other arguments of the constructor.

        Raises:
            InvalidArgumentError: no location, several of them, or headers.
        """
        refuse_unknown_fields(cls, {k: v for k, v in kwargs.items() if k in _OTHER_NAMES["path"]})
        places = {"persist_dir": persist_dir, "path": path, "host": host, "url": url}
        address = url_of(host, port, ssl, headers)
        check_places(places)
        meant = arguments_of_store(collection_kwargs)
        if twice := meant.keys() & kwargs.keys():
            raise InvalidArgumentError(
                f"{min(twice)} is given beside collection_kwargs, which has it"
            )
        return cls(
            collection_name=collection_name,
            path=persist_dir if path is None else path,
            url=address if url is None else url,
            **meant,
            **kwargs,
        )

    @classmethod
    def class_name(cls) -> str:
        """The name by which LlamaIndex identifies the class in serialized data."""
        return "RetrievalStoreVectorStore"

    @property
    def client(self) -> Collection:
        """The underlying collection, for everything that LlamaIndex has no method for."""
        return self._opened.collection

    @property
    def collection(self) -> Collection:
        """The same as `client`."""
        return self._opened.collection

    @property
    def embed_model(self) -> BaseEmbedding | None:
        """The index's embedding that the store was made with; None without one."""
        model: BaseEmbedding | None = self._functions["embed_model"]
        return model

    def as_tool(self, name: str = "search", *, write: bool = False) -> FunctionTool:
        """The tool of `as_tools` with this name; raises InvalidArgumentError if there is none."""
        tools = self._tools(write)
        return _tool_of(tools, tools.tool(name))

    def _tools(self, write: bool) -> "StoreTools":
        with needing("as_tools", "retrieval-store-agents", "retrieval-store-agents"):
            from retrieval_store_agents import CollectionSource, StoreTools

        return StoreTools(CollectionSource(self._opened.collection), writes=write)

    def as_tools(self, *, write: bool = False) -> list[FunctionTool]:
        """Tools for an agent: collections, search, get and why, and with `write` also add, update
        and delete. They are the tools of `retrieval-store mcp`, with the same descriptions. An
        invalid call raises InvalidArgumentError, which agents pass on to their model; the message
        says what would be right."""
        tools = self._tools(write)
        return [_tool_of(tools, tool) for tool in tools.tools]

    def close(self) -> None:
        """Close a store that this object has opened by path or url, or discard its store in memory.
        A client or collection that was passed in stays open."""
        self._opened.close()

    def __enter__(self) -> "RetrievalStoreVectorStore":
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The arguments from which `from_dict` opens the store again. Raises StorageError if these
        arguments wouldn't open the same store, since some of them are functions, or the store is in
        memory."""
        if any(function is not None for function in self._functions.values()):
            raise StorageError(
                "a store with functions can't be made a dict or JSON, where they would be lost; "
                "pickle it, or make another one with them"
            )
        self._refuse_another()
        return super().to_dict(**kwargs)

    def _refuse_another(self) -> None:
        """Raise StorageError if the arguments of this store would not open the same store again."""
        if not self._reopens:
            raise StorageError(
                "only a store that was made with path= or url= can be pickled, copied or made a "
                "dict or JSON, which open it again"
            )

    def __getstate__(self) -> dict[str, Any]:
        self._refuse_another()
        return {"arguments": {**self.model_dump(exclude={"class_name"}), **self._functions}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]

    def __copy__(self) -> "RetrievalStoreVectorStore":
        return type(self)(**self.__getstate__()["arguments"])

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "RetrievalStoreVectorStore":
        return self.__copy__()

    # writing

    def add(self, nodes: Iterable[BaseNode], **add_kwargs: Any) -> list[str]:
        """Add nodes with embeddings, and replace nodes whose ids exist. Returns the ids. If several
        nodes have the same id, the last node wins. Either all nodes of a batch are written, or
        none. The batches are written in order; by default there is one batch.

        Args:
            nodes: the nodes.
            **add_kwargs: `batch_size`, instead of the store's.

        Raises:
            InvalidArgumentError: a node without an embedding, or with metadata or a template that
                can't be stored; nothing was written.
        """
        refuse_unknown(add_kwargs, ("batch_size",), "add")
        size = add_kwargs.get("batch_size")
        node_list = items_of(nodes, "nodes", BaseNode)
        for batch in batches_of(node_list, self.batch_size if size is None else size):
            self.client.upsert(**batch.arguments(self._sparse), replace=True)
        return [node.node_id for node in node_list]

    async def async_add(self, nodes: Iterable[BaseNode], **kwargs: Any) -> list[str]:
        """`add`, on a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document. Does nothing if the document doesn't exist."""
        refuse_unknown(delete_kwargs, ("ref_doc_id",), "delete")
        if not isinstance(ref_doc_id, str):
            raise InvalidTypeError(f"ref_doc_id is {quote(ref_doc_id)}, expected a str")
        self.client.delete(where=points_of_documents((ref_doc_id,)))

    adelete = async_twin(delete)

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete the nodes that match both ids and filters. Without ids and filters nothing is
        deleted.

        Args:
            node_ids: the ids of nodes; None doesn't restrict, an empty list matches no node.
            filters: the filters of metadata; None doesn't restrict.
            **delete_kwargs: `where`, `where_document`, `filter` and `qdrant_filters`, as in
                `query`.
        """
        ids = ids_of(node_ids, "node_ids")
        refuse_unknown(delete_kwargs, ("node_ids", "filters", *RESTRICTIONS), "delete_nodes")
        among = filters_of_query(filters, delete_kwargs)
        if ids:
            self.client.delete(ids=ids, **among)
        elif ids is None and any(restriction is not None for restriction in among.values()):
            self.client.delete(**among)

    adelete_nodes = async_twin(delete_nodes)

    def clear(self) -> None:
        """Delete all nodes; the collection stays."""
        self.client.delete(where=And(()))  # which every point fulfils

    aclear = async_twin(clear)

    def persist(self, persist_path: str = "", fs: Any = None) -> None:
        """Do nothing: everything is on disk already, or stays in memory."""

    # reading

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        limit: int | None = None,
        *,
        offset: int | None = None,
        include: Any = None,
        **restrictions: Any,
    ) -> list[BaseNode]:
        """The nodes that match both ids and filters; without ids and filters, all nodes. A point
        from another program is returned as a TextNode, or as an ImageNode if it has a uri and no
        text.

        Args:
            node_ids: the ids of nodes; None doesn't restrict, an empty list matches no node.
            filters: the filters of metadata; None doesn't restrict.
            limit: the maximum number of nodes; None for all.
            offset: how many nodes to skip.
            include: a list without "embeddings" leaves out the embeddings.
            **restrictions: `where`, `where_document`, `filter` and `qdrant_filters`, as in `query`.

        Raises:
            DamagedError: a point that can't be a node.
        """
        ids = ids_of(node_ids, "node_ids")
        known = "node_ids", "filters", "limit", "offset", "include", *RESTRICTIONS
        refuse_unknown(restrictions, known, "get_nodes")
        got = self.client.get(
            ids=ids,
            **filters_of_query(filters, restrictions),
            limit=limit,
            offset=offset,
            include=fields_of(("embeddings",) if include is None else include),
        )
        return nodes_of(got, self.text_key)

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        limit: int | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """`get_nodes`, on a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters, limit, **kwargs)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The best nodes for the query, best first, in one of the modes default, mmr, sparse,
        text_search and hybrid. Without an embedding the matching nodes are listed, each with
        similarity 1.

        Args:
            query: the query, in one of these modes. The query's filters, `doc_ids` and `node_ids`
                are combined; empty lists and None don't restrict.
            **kwargs: more restrictions: `where` and `where_document`, dicts as in
                `Collection.query`; `filter` and `qdrant_filters`, each a dict as in `where`, an
                expression of retrieval_store.filters, or a Filter of qdrant-client.
                `include=["embeddings"]` returns the nodes' embeddings too. Options of the search,
                as in `Collection.query`: `exact`, `ef`, `offset`, `max_distance`, `min_score`,
                `group_by`, `group_size`, `rerank`, `rerank_from` and `rerank_query` (by default
                `query_str`). `search_params` takes Qdrant's `hnsw_ef` and `exact`. In mode hybrid:
                `fusion`, as in the constructor. In mode mmr: `mmr_threshold` (1 is relevance alone;
                the default is 0.5), and `mmr_prefetch_k` or `mmr_prefetch_factor`, which set the
                number of candidates.

        Raises:
            InvalidArgumentError: an unsupported mode, a mode that lacks an argument, or an unknown
                argument.
        """
        return self._query_answerer().answer(query, kwargs)

    aquery = async_twin(query)

    def explain(self, query: VectorStoreQuery, **kwargs: Any) -> Explanation:
        """How the query is answered, as `Collection.explain` returns it; in mode mmr, how the
        candidates are found."""
        explanation: Explanation = self._query_answerer().explain(query, kwargs)
        return explanation

    aexplain = async_twin(explain)

    def _query_answerer(self) -> QueryAnswerer:
        fusion = self._functions["hybrid_fusion_fn"]
        return QueryAnswerer(self.client, self.text_key, fusion, self._sparse)


@dataclass
class _Metadata(ToolMetadata):
    """The name and description of a tool, and the JSON schema of its arguments."""

    schema: Any = None

    def get_parameters_dict(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        return dict(self.schema)


def _tool_of(tools: "StoreTools", tool: Any) -> FunctionTool:
    def call(**arguments: Any) -> str:
        answer = tools.call(tool.name, arguments)
        if answer.is_error:
            raise InvalidArgumentError(answer.text)
        return answer.text

    metadata = _Metadata(name=tool.name, description=tool.description, schema=tool.schema)
    return FunctionTool(call, metadata=metadata)
