"""What `python -m commands.check` looks at, an area a module."""
