"""Builds the graph of a BERT model in the ONNX format, node by node, from weights. The tests'
package has weights but no graph.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

IR_VERSION = 9  # that of opset 20, which onnxruntime reads from 1.17 on


class Builder:
    """Nodes and constants with unique names. prefix: the beginning of their names."""

    FLOAT: ClassVar[int] = 1  # numbers of onnx.TensorProto
    INT64: ClassVar[int] = 7

    def __init__(self, prefix: str = "") -> None:
        self._onnx = onnx
        self._prefix, self._count = prefix, 0
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        """A constant: an array unchanged, a list as int64, a number as float32."""
        kinds: dict[type, type] = {list: np.int64, float: np.float32}
        array = np.ascontiguousarray(np.asarray(value, kinds.get(type(value))))
        # A scalar would have become an array of one number.
        array = array.reshape(np.shape(value))
        self.constants.append(self._onnx.numpy_helper.from_array(array, self._new()))
        return str(self.constants[-1].name)

    def add(self, kind: str, *inputs: str, **settings: Any) -> str:
        """Add a node; returns the name of its output."""
        output = self._new()
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **settings))
        return output

    def name(self, value: str, name: str) -> None:
        """Give a value another name."""
        self.nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))

    def model(self, name: str, opset: int, inputs: list[str], output: tuple[str, int]) -> Any:
        """The whole graph as a model with int64 inputs, (n, tokens), and a float32 output, (n,
        tokens, dim)."""
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
        """The sum of the embeddings of a word, of its position, and of the first text of a pair."""
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
        """The result of attention and the two following dense layers for all tokens."""
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
