"""``python -m torchjd``."""

import sys

from torchjd._cli import main

sys.exit(main())
