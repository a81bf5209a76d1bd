"""Text models in the ONNX format, run by onnxruntime, without torch.

A model's directory in the layout of sentence-transformers comes in; vectors come out. `files` finds
and reads the directory and its weights, and caches what is made of them; `graph` builds a graph
from safetensors, or a graph in int8 from another; `runtime` tokenizes, runs and pools; `functions`
has the two embedding functions. It may use `base`, `errors` and `embeddings._common`.
"""
