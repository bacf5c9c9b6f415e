"""From bytes to a checked recipe, or all that is wrong with it."""
