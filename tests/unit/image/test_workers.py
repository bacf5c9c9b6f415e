"""How a build's workers are started."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import threading
from recipec.image.work import _shared

def method():
    return _shared().context.get_start_method()

before = method()
stop = threading.Event()
threading.Thread(target=stop.wait).start()
print(before, method())
stop.set()
"""


def test_workers_are_forked_only_while_there_is_one_thread() -> None:
    """A fork copies one thread and the locks of all; elsewhere than on Linux libraries mind."""
    told = subprocess.run(
        [sys.executable, "-c", ASK], check=True, capture_output=True, text=True
    ).stdout
    assert told == ("fork spawn\n" if sys.platform == "linux" else "spawn spawn\n")
