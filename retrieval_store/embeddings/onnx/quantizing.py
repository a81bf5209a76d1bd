"""A graph with its large weights as int8: a quarter of the bytes, and products of integers.

onnxruntime's own dynamic quantization gives all texts of a batch one scale, so that the vector of a
text depends on what else is embedded with it. Here each token has its own. Tokens have eight bits
and weights seven: on processors without VNNI, sums of two products of eight bits are cut off at
sixteen ("Quantize ONNX models", in onnxruntime's documentation); so each processor gives the same.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_store.embeddings.onnx.building import Builder, onnx_package
from retrieval_store.errors import EmbeddingFunctionError

OF_WEIGHTS, OF_TOKENS = 63, 127  # the greatest integer
ZERO = 128  # what stands for 0 among unsigned tokens
LARGE = 100_000  # weights that a table has at least, so that it is worth it
_LEAST = float(np.finfo(np.float32).tiny)


def quantized(model: Any) -> Any:
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
