"""``python -m flamepy.ctl`` is ``flmctl``."""

from __future__ import annotations

import sys

from flamepy.ctl import main

if __name__ == "__main__":
    sys.exit(main())
