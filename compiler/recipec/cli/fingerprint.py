"""Where the commands find `recipec.fingerprint`."""

from recipec.fingerprint import compiler_fingerprint, package_folder

__all__ = ["compiler_fingerprint", "package_folder"]
