"""Text models in the ONNX format, run by onnxruntime, without torch.

A model is a directory in the layout of sentence-transformers. `model_files` finds and reads the
directory, and downloads models whose files are known by their digests. `runtime` tokenizes texts,
runs the model, and pools the vectors; `functions` has the two embedding functions. The package may
import `base`, `errors` and `embeddings._common`.
"""
