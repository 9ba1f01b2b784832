"""`python -m dilaton`: the command line."""

from .face.cli import main

if __name__ == "__main__":
    main()
