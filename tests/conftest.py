"""Settings for all tests."""

import torch

# Small matrices on many threads wait for one another, the more so when tests run side by side.
torch.set_num_threads(1)
