"""The graph of a BERT model, made of its weights: what is needed where a package carries weights
and no graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_store.embeddings.onnx.building import Builder

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
