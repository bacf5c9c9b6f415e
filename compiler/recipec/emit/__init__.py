"""From a plan to the bundle: scripts, run.json, DVC stages."""
