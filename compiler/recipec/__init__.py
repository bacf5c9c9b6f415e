"""recipec compiles a YAML recipe for fine-tuning into an image, a script and a DVC stage.

Importing this package imports nothing else: every command pulls in only what it uses.
"""

__version__ = "0.1.0"
