"""Loaded by every Python that the tests start, also by examples (this folder is on PYTHONPATH)."""

import torchvision_beside_cpu_torch

torchvision_beside_cpu_torch.watch()
