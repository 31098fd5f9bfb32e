"""Run the command line as ``python -m thresher``."""

from thresher.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
