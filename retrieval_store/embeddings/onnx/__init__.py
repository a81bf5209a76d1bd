"""Texts by models in the ONNX format, run by onnxruntime: no torch.

A directory of a model in the layout of sentence-transformers comes in, vectors come out. `layouts`
reads what the directory says of itself, `places` finds it, `running` tokenizes, runs and pools;
`weights` reads safetensors, `bert` makes a graph of them, `quantizing` one of a graph in int8, both
node by node with `building`; `cache` keeps those in the user's cache; `functions` has what all
embedding functions share, and `directory` and `minilm` are the two that there are. It may use
`base`, `errors`, `embeddings.arguments` and `embeddings.lengths`.
"""
