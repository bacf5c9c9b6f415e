"""Checks documents in the Python that runs it: `python -m tests.support.heavy < documents.json`.

For clients that are too heavy for the tests' own environment: stdin is a JSON list of target and
text, stdout a list of who has checked it and what is wrong.
"""

from __future__ import annotations

import json
import sys

from recipec.clients.check import check_document


def main() -> None:
    found = []
    for target, text in json.load(sys.stdin):
        verdict = check_document(target, text.encode())
        found.append([verdict.validator, list(verdict.faults)])
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
