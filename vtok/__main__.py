"""python -m vtok VERB ... is vtok VERB ..."""

import sys

from vtok.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
