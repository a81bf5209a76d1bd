"""A graph with its large weights as int8: a quarter of the bytes, and products of integers.

onnxruntime's own dynamic quantization gives all texts of a batch one scale, so that the vector of a
text depends on what else is embedded with it. Here each token has its own. Tokens have eight bits
and weights seven: on processors without VNNI, sums of two products of eight bits are cut off at
sixteen ("Quantize ONNX models", in onnxruntime's documentation); so each processor gives the same.
"""

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
    graph = model.graph
    onnx = onnx_package()
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if opset < 13:
        raise EmbeddingFunctionError(
            f"int8 needs a model of opset 13 or newer, and this is {opset}"
        )
    constants = {one.name: one for one in graph.initializer}
    uses = [name for node in graph.node for name in node.input]
    replaced: dict[str, Builder] = {}
    nodes: list[Any] = []
    for node in graph.node:
        place = {"MatMul": 1, "Gather": 0}.get(node.op_type)
        table = None if place is None else constants.get(node.input[place])
        if table is None or not _is_large(table) or uses.count(table.name) > 1:
            nodes.append(node)
            continue
        built = Builder(f"{node.output[0]}/int8/")
        numbers = onnx.numpy_helper.to_array(table)
        if node.op_type == "MatMul":
            found = _product(built, node.input[0], numbers, opset)
        else:
            found = _looked_up(built, numbers, node.input[1])
        built.name(found, node.output[0])
        nodes += built.nodes
        replaced[table.name] = built
    if not replaced:
        raise EmbeddingFunctionError("the model has no weights that could be int8")
    kept = [one for one in graph.initializer if one.name not in replaced]
    kept += [one for built in replaced.values() for one in built.constants]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return model


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
