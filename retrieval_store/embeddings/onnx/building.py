"""Graphs in the ONNX format, node by node."""

from typing import Any, ClassVar

import numpy as np

from retrieval_store.errors import MissingDependencyError

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
