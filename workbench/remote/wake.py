"""What tells that the network may be another one now: this machine has slept, or has another address."""

from __future__ import annotations

import socket

_JUMP_S = 5.0
"""Of the clocks against each other; more than any correction of them by a time server."""
_FAR_AWAY = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses for documentation: on the way to anywhere."""
_ANY_PORT = 9


def slept(wall_s: float, steady_s: float, wanted_s: float) -> bool:
    """Whether the machine has slept, by what two clocks say of a pause that was to take `wanted_s`.

    The steady clock stands still in a sleep on some systems, and goes on in others.
    """
    return abs(wall_s - steady_s) > _JUMP_S or steady_s - wanted_s > _JUMP_S


def local_address() -> str:
    """The addresses from which this machine would talk to the world; empty where it is cut off."""
    found = []
    for far, family in _FAR_AWAY:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((far, _ANY_PORT))  # of a datagram socket: nothing is sent
                found.append(str(asking.getsockname()[0]))
        except OSError:
            continue
    return " ".join(found)
