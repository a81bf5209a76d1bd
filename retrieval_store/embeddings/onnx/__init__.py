"""Text models in the ONNX format, run by onnxruntime, without torch.

The input is a model's directory in the layout of sentence-transformers; the output is vectors.
`model_files` finds and reads the directory, and downloads models whose files are known by their
digests. `runtime` tokenizes, runs and pools; `functions` has the two embedding functions. It may
use `base`, `errors` and `embeddings._common`.
"""
