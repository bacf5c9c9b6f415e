"""From a recipe and its lock to every number that training uses."""
