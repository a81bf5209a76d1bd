"""Read by every Python that the tests start, examples included (this folder is on PYTHONPATH)."""

import limited_numkong
import torchvision_beside_cpu_torch

limited_numkong.limit()
torchvision_beside_cpu_torch.watch()
