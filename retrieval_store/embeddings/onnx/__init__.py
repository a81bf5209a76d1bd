"""Text models in the ONNX format, run by onnxruntime, without torch.

A model's directory in the layout of sentence-transformers comes in; vectors come out. `model_files`
finds and reads the directory, and downloads the files of a model that is known by their digests;
`runtime` tokenizes, runs and pools; `functions` has the two embedding functions. It may use `base`,
`errors` and `embeddings._common`.
"""
