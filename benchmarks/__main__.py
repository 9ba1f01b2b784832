"""Run the benchmarks: ``python -m benchmarks [--json FILE] [--quick]``."""

from .bench import main

if __name__ == "__main__":
    raise SystemExit(main())
