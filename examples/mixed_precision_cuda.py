"""The example of mixed precision, on a GPU: the same code, with ``"cuda"`` for ``"cpu"``.

python examples/mixed_precision_cuda.py
"""

import torch
from mixed_precision import main

if __name__ == "__main__":
    if torch.cuda.is_available():
        main("cuda")
    else:
        print("This example needs a CUDA device, and torch finds none.")
        print("To see the same on a CPU: python examples/mixed_precision.py")
