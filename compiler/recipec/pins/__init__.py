"""From a recipe to its lock: every input by hash, and the bytes themselves."""
