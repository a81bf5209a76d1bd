"""Builds graphs in the ONNX format, node by node, from the weights of a BERT model: for a package
that carries weights and no graph.

`quantized` makes a graph with its large weights as int8: a quarter of the bytes, and products of
integers. onnxruntime's own dynamic quantization gives all texts of a batch one scale, so that the
vector of a text depends on what else is embedded with it. Here each token has its own. Tokens have
eight bits and weights seven: on processors without VNNI, sums of two products of eight bits are cut
off at sixteen ("Quantize ONNX models", in onnxruntime's documentation); so each processor gives the
same.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_store.errors import EmbeddingFunctionError, MissingDependencyError

IR_VERSION = 9  # that of opset 20, which onnxruntime reads from 1.17 on


def onnx_package() -> Any:
    """The package onnx."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            'a model is made in the ONNX format by onnx: pip install "retrieval-store[minilm]"'
        ) from error
    return onnx


class Builder:
    """Nodes and constants, which have names of their own. prefix: what these begin with."""

    FLOAT: ClassVar[int] = 1  # numbers of onnx.TensorProto
    INT64: ClassVar[int] = 7

    def __init__(self, prefix: str = "") -> None:
        self._onnx = onnx_package()
        self._prefix, self._count = prefix, 0
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        """A constant: an array, as it is; a list, as int64; a number, as float32."""
        kinds: dict[type, type] = {list: np.int64, float: np.float32}
        array = np.ascontiguousarray(np.asarray(value, kinds.get(type(value))))
        # A scalar would have become an array of one number.
        array = array.reshape(np.shape(value))
        self.constants.append(self._onnx.numpy_helper.from_array(array, self._new()))
        return str(self.constants[-1].name)

    def add(self, kind: str, *inputs: str, **settings: Any) -> str:
        """A node; what its output is called."""
        output = self._new()
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **settings))
        return output

    def name(self, value: str, name: str) -> None:
        """Let a value also be called so."""
        self.nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))

    def model(self, name: str, opset: int, inputs: list[str], output: tuple[str, int]) -> Any:
        """All of it as a model of int64 inputs, (n, tokens), and an output of float32, (n, tokens,
        dim)."""
        helper = self._onnx.helper
        given = [helper.make_tensor_value_info(one, self.INT64, ["n", "tokens"]) for one in inputs]
        shape = ["n", "tokens", output[1]]
        found = [helper.make_tensor_value_info(output[0], self.FLOAT, shape)]
        graph = helper.make_graph(self.nodes, name, given, found, self.constants)
        sets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=sets, ir_version=IR_VERSION)

    def _new(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count}"


OPSET = 20
FAR = -10_000.0  # what is added to the attention to a token that isn't there


def graph_of(weights: Mapping[str, NDArray[Any]], heads: int, epsilon: float) -> Any:
    """A model of onnx: input_ids and attention_mask, (n, tokens) int64, to last_hidden_state, (n,
    tokens, dim) float32.

    The weights are named as transformers names those of a BertModel. Devlin and others, "BERT"
    (2019), after Vaswani and others, "Attention is all you need" (2017).
    """
    built = Builder()
    there = built.add("Cast", "attention_mask", to=built.FLOAT)
    far = built.add("Mul", built.add("Sub", there, built.constant(1.0)), built.constant(-FAR))
    far = built.add("Unsqueeze", far, built.constant([1, 2]))
    model = _Bert(built, weights, heads, epsilon, far)
    tokens = model.embedded()
    layer = 0
    while f"encoder.layer.{layer}.output.dense.weight" in weights:
        tokens = model.layer(tokens, f"encoder.layer.{layer}.")
        layer += 1
    built.name(tokens, "last_hidden_state")
    size = weights["embeddings.word_embeddings.weight"].shape[1]
    return built.model("bert", OPSET, ["input_ids", "attention_mask"], ("last_hidden_state", size))


class _Bert:
    """The parts of one model. far: what is added to the attention of each token to each."""

    def __init__(
        self,
        built: Builder,
        weights: Mapping[str, NDArray[Any]],
        heads: int,
        epsilon: float,
        far: str,
    ) -> None:
        self._built, self._weights = built, weights
        self._heads, self._epsilon, self._far = heads, epsilon, far

    def embedded(self) -> str:
        """The sum of what stands for a word, for its place, and for the first text of a pair."""
        built, weights = self._built, self._weights
        words = built.constant(weights["embeddings.word_embeddings.weight"])
        places = weights["embeddings.position_embeddings.weight"]
        kinds = weights["embeddings.token_type_embeddings.weight"]
        first, second = built.constant([1]), built.constant([2])
        length = built.add("Slice", built.add("Shape", "input_ids"), first, second)
        zero = built.constant([0])
        known = built.add("Slice", built.constant(places + kinds[0]), zero, length, zero)
        both = built.add("Add", built.add("Gather", words, "input_ids"), known)
        return self._normalised(both, "embeddings.LayerNorm")

    def layer(self, tokens: str, name: str) -> str:
        """What attention and the two dense layers after it make of all tokens."""
        add = self._built.add
        seen = self._dense(
            self._attended(tokens, name + "attention.self."), name, "attention.output.dense"
        )
        tokens = self._normalised(add("Add", seen, tokens), name + "attention.output.LayerNorm")
        wide = add("Gelu", self._dense(tokens, name, "intermediate.dense"))
        both = add("Add", self._dense(wide, name, "output.dense"), tokens)
        return self._normalised(both, name + "output.LayerNorm")

    def _attended(self, tokens: str, name: str) -> str:
        add, constant = self._built.add, self._built.constant
        size = self._weights[name + "query.bias"].shape[0]
        split = constant([0, 0, self._heads, size // self._heads])
        query, key, value = (
            add("Transpose", add("Reshape", self._dense(tokens, name, part), split), perm=order)
            for part, order in (
                ("query", [0, 2, 1, 3]),
                ("key", [0, 2, 3, 1]),
                ("value", [0, 2, 1, 3]),
            )
        )
        scale = constant(float(1 / np.sqrt(size // self._heads)))
        likeness = add("Mul", add("MatMul", query, key), scale)
        shares = add("Softmax", add("Add", likeness, self._far), axis=-1)
        taken = add("Transpose", add("MatMul", shares, value), perm=[0, 2, 1, 3])
        return add("Reshape", taken, constant([0, 0, size]))

    def _dense(self, tokens: str, name: str, part: str) -> str:
        weight = self._weights[f"{name}{part}.weight"]
        product = self._built.add("MatMul", tokens, self._built.constant(weight.T))
        bias = self._weights[f"{name}{part}.bias"]
        return self._built.add("Add", product, self._built.constant(bias))

    def _normalised(self, tokens: str, name: str) -> str:
        scale, shift = (
            self._built.constant(self._weights[f"{name}.{part}"]) for part in ("weight", "bias")
        )
        epsilon = self._epsilon
        return self._built.add("LayerNormalization", tokens, scale, shift, epsilon=epsilon)


OF_WEIGHTS, OF_TOKENS = 63, 127  # the greatest integer
ZERO = 128  # what stands for 0 among unsigned tokens
LARGE = 100_000  # weights that a table has at least, so that it is worth it
_LEAST = float(np.finfo(np.float32).tiny)


def quantize(model: Any) -> Any:
    """The same model, changed in place: products with constant matrices, and tables that vectors
    are looked up in. EmbeddingFunctionError where there is neither."""
    opset = _opset_of(model)
    tables = _tables(model.graph)
    replaced: dict[str, Builder] = {}
    nodes: list[Any] = []
    for node in model.graph.node:
        table = next((tables[name] for name in node.input if name in tables), None)
        if table is None:
            nodes.append(node)
        else:
            replaced[table.name] = built = _in_int8(node, table, opset)
            nodes += built.nodes
    if not replaced:
        raise EmbeddingFunctionError("the model has no weights that could be int8")
    constants = [one for one in model.graph.initializer if one.name not in replaced]
    constants += [one for built in replaced.values() for one in built.constants]
    # In older files weights are listed among the inputs, too.
    inputs = [one for one in model.graph.input if one.name not in replaced]
    for part, new in (("node", nodes), ("initializer", constants), ("input", inputs)):
        model.graph.ClearField(part)
        getattr(model.graph, part).extend(new)
    return model


def _opset_of(model: Any) -> int:
    numbers = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    opset = max(numbers, default=0)
    if opset < 13:
        raise EmbeddingFunctionError(
            f"int8 needs a model of opset 13 or newer, and this is {opset}"
        )
    return opset


def _tables(graph: Any) -> dict[str, Any]:
    """The large weights that are used once, as the second factor of a product, or to look up their
    rows."""
    constants = {one.name: one for one in graph.initializer if _is_large(one)}
    uses = Counter(name for node in graph.node for name in node.input)
    found = {}
    for node in graph.node:
        place = {"MatMul": 1, "Gather": 0}.get(node.op_type)
        name = "" if place is None else node.input[place]
        of_columns = any(one.name == "axis" and one.i != 0 for one in node.attribute)
        if name in constants and uses[name] == 1 and not of_columns:
            found[name] = constants[name]
    return found


def _in_int8(node: Any, table: Any, opset: int) -> Builder:
    """What is done in the place of a node with such weights."""
    built = Builder(f"{node.output[0]}/int8/")
    numbers = onnx_package().numpy_helper.to_array(table)
    if node.op_type == "MatMul":
        found = _product(built, node.input[0], numbers, opset)
    else:
        found = _looked_up(built, numbers, node.input[1])
    built.name(found, node.output[0])
    return built


def _is_large(table: Any) -> bool:
    return len(table.dims) == 2 and table.data_type == Builder.FLOAT and np.prod(table.dims) > LARGE


def _product(built: Builder, tokens: str, weights: NDArray[Any], opset: int) -> str:
    """Tokens times weights, (…, k) and (k, n), as integers with a scale a token and a column."""
    depth, width = weights.shape
    scales, integers = _as_integers(weights.T, OF_WEIGHTS)
    flat = built.add("Reshape", tokens, built.constant([-1, depth]))
    size = built.add("Abs", flat)
    if opset < 18:
        greatest = built.add("ReduceMax", size, axes=[1], keepdims=0)
    else:
        greatest = built.add("ReduceMax", size, built.constant([1]), keepdims=0)
    scale = built.add("Mul", greatest, built.constant(1 / OF_TOKENS))
    scale = built.add("Max", scale, built.constant(_LEAST))  # of a token of zeros
    zero = built.constant(np.uint8(ZERO))
    zeros = built.add("Expand", zero, built.add("Shape", scale))
    eight_bits = built.add("QuantizeLinear", flat, scale, zeros, axis=0)
    product = built.add("MatMulInteger", eight_bits, built.constant(integers.T), zero)
    product = built.add("Cast", product, to=built.FLOAT)
    product = built.add("Mul", product, built.add("Unsqueeze", scale, built.constant([1])))
    product = built.add("Mul", product, built.constant(scales))
    shape = built.add("Slice", built.add("Shape", tokens), *map(built.constant, ([0], [-1])))
    return built.add(
        "Reshape", product, built.add("Concat", shape, built.constant([width]), axis=0)
    )


def _looked_up(built: Builder, table: NDArray[Any], places: str) -> str:
    scales, integers = _as_integers(table, OF_TOKENS)
    found = built.add("Gather", built.constant(integers), places)
    scale = built.add("Gather", built.constant(scales), places)
    scale = built.add("Unsqueeze", scale, built.constant([-1]))
    return built.add("Mul", built.add("Cast", found, to=built.FLOAT), scale)


def _as_integers(rows: NDArray[Any], greatest: int) -> tuple[Any, NDArray[np.int8]]:
    """A scale for each row, and its integers."""
    scales = np.abs(rows).max(axis=1).astype(np.float32) / greatest
    scales[scales == 0] = 1.0
    return scales, np.round(rows / scales[:, None]).astype(np.int8)
