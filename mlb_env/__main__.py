"""`python -m mlb_env` is `mlb`."""

from .cli import main

main()
