"""What the function is made of; the way of a message through it is told in `main.py`."""
