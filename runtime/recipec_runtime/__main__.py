"""`python -m recipec_runtime train|evaluate`: the entry point of the image."""

from recipec_runtime.launch import main

if __name__ == "__main__":
    raise SystemExit(main())
