"""Compare the function with the floor and with the recipe: `make benchmark`."""
