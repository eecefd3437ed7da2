"""What an operator runs: `python -m commands.NAME`; each says with --help what it does."""
