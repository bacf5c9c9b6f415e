"""What the emitted scripts stand on: checked inputs, pinned determinism, checkpoints, receipts.

Rides in the image beside the scripts. It never imports recipec; the two meet in `run.json`. Nothing
here imports torch before the environment is pinned, so importing this package costs nothing.
"""
