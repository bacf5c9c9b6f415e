"""Publishing an image to a registry, byte for byte."""
