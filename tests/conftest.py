"""What every test shares: the flag that rewrites goldens, and hypothesis' settings."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# A background job is started with SIGINT ignored, and so is everything that it starts: then no
# shell in a container can trap it. A handler of our own becomes the default in children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: a failure in CI is the failure on a desk. `--hypothesis-profile
# explore` looks further.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, database=None, max_examples=60
)
settings.register_profile("explore", deadline=None, database=None, max_examples=2000)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens", action="store_true", help="write tests/cases/*/expected/ anew"
    )


@pytest.fixture
def update_goldens(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-goldens"))
