"""python train.py ... is `vtok train ...`: the Hydra entry, nothing else in it."""

import sys

from vtok.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
