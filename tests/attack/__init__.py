"""Attack the function as a process on loopback, and count what authentic messages hear meanwhile.

Run: python -m tests.attack [name ...]
"""
