"""`python -m ropeline`: the command, where its script is not on the path."""

import sys

from ropeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
