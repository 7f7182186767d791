"""``python -m flamepy``: look at the object cache, and at what is wrong with it."""

import sys

from flamepy.cli import main

if __name__ == "__main__":
    sys.exit(main())
