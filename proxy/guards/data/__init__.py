"""What the text guards know of the world, as tables: formats of secrets, words of instructions. No logic."""
