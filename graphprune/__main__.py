"""``python -m graphprune``."""

from __future__ import annotations

import sys

from graphprune.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
