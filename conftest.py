"""Settings of all tests, and the examples of the documents among them."""

import torch
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

# Small matrices on many threads wait for one another, the more so when tests run side by side.
torch.set_num_threads(1)

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()], patterns=["*.md"], excludes=["docs/_build/**"]
).pytest()
