"""How processes of a run find each other, and what they say when they do not."""

from __future__ import annotations

import socket

import pytest

from recipec_runtime import processes, together
from recipec_runtime.errors import EnvironmentLacks, PeerLost, RunError
from recipec_runtime.ranks import Ranks

LOST = {
    # what torch 2.13 says; the kind of error; how ours begins
    "The client socket has timed out after 4000ms while trying to connect to (algo-1, 29500).": (
        *(PeerLost, "not all processes of the run have come: "),
    ),
    "Timed out after 5 seconds waiting for clients. 1/2 clients joined.": (
        *(PeerLost, "not all processes of the run have come: "),
    ),
    "The server socket has failed to listen on any local network address. port: 29513, useIpv6:"
    " false, code: -98, name: EADDRINUSE, message: address already in use": (
        *(EnvironmentLacks, "the port at which the processes meet is in use: "),
    ),
    "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]": (
        *(PeerLost, "another process of the run is gone: "),
    ),
}


@pytest.mark.parametrize("text", LOST)
def test_words_of_the_library(text: str) -> None:
    kind, start = LOST[text]
    found = together.explain(RuntimeError(text))
    assert type(found) is kind
    assert isinstance(found, RunError)
    assert found.message.startswith(start)
    assert found.hint


def test_errors_of_other_kinds_are_not_theirs() -> None:
    assert together.explain(ValueError("Connection reset by peer")) is None
    assert together.explain(RuntimeError("shapes do not match")) is None


def ranks(address: str, nodes: int = 2) -> Ranks:
    return Ranks(world_size=nodes, nodes=nodes, master_address=address)


def test_the_card_that_others_are_met_on() -> None:
    """Of one machine alone the loopback's; of several never, whatever a name leads to."""
    cards = {name for _, name in socket.if_nameindex()} - {"lo"}
    assert processes.network_card(ranks("anything", nodes=1)) == "lo"
    found = {processes.network_card(ranks(one)) for one in ("127.0.1.1", "no.such.invalid")}
    assert len(found) == 1  # the way to any other machine
    assert found <= cards | {""}
