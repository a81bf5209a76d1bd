"""Read by every Python that the tests start, examples included (this folder is on PYTHONPATH)."""

import torchvision_beside_cpu_torch

torchvision_beside_cpu_torch.watch()
