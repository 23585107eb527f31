# SPDX-License-Identifier: Apache-2.0
"""A long, lossy line for a benchmark: two TUN devices, one of them in a network namespace, and what lies between.

Packets wait and get lost here, below TCP, as they do on a real line: what TCP makes of it is the kernel's own. It needs
root; the kernel's `netem` would do the same where it is built in.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
CLONE_NEWNET = 0x40000000  # linux/sched.h
PACKET = 2048


@dataclass(frozen=True)
class Link:
    """near: the address of the namespace's end, far: of the other one, where a server may listen."""

    namespace: str
    near: str
    far: str

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and the processes that it starts, sit at the near end."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.namespace}") as there:
            _enter(libc, there.fileno())
            try:
                yield
            finally:
                _enter(libc, home.fileno())


def _enter(libc: ctypes.CDLL, handle: int) -> None:
    if libc.setns(handle, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def slow_link(*, round_trip_s: float, loss: float, seed: int = 0) -> Iterator[Link]:
    """While open, packets take half of ``round_trip_s`` each way, and this share of them is lost, each way."""
    number = os.getpid() % 60_000
    name, subnet = f"ade-{os.getpid()}", f"10.200.{number // 250}.{number % 250 // 4 * 4}"
    link = Link(name, _nth(subnet, 1), _nth(subnet, 2))
    with contextlib.ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        near, far = (stack.enter_context(_tun(f"{end}{number}")) for end in ("aden", "adef"))
        _ip("link", "set", f"aden{number}", "netns", name)
        for prefix, end, own, other in (
            (("-n", name), "aden", link.near, link.far),
            ((), "adef", link.far, link.near),
        ):
            _ip(*prefix, "addr", "add", own, "peer", other, "dev", f"{end}{number}")
            _ip(*prefix, "link", "set", f"{end}{number}", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        over = threading.Event()
        line = threading.Thread(target=_carry, args=(near, far, round_trip_s / 2, loss, random.Random(seed), over))  # noqa: S311 - a line
        line.start()
        stack.callback(line.join)
        stack.callback(over.set)
        yield link


@contextlib.contextmanager
def _tun(name: str) -> Iterator[int]:
    """A device that is there as long as its handle is open; what goes into it comes out of the handle."""
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
        yield handle
    finally:
        os.close(handle)


def _carry(near: int, far: int, delay: float, loss: float, dice: random.Random, over: threading.Event) -> None:
    """Every packet waits as long, so they stay in order and a queue is enough."""
    waiting: collections.deque[tuple[float, int, bytes]] = collections.deque()
    other = {near: far, far: near}
    while not over.is_set():
        pause = min(0.1, max(0.0, waiting[0][0] - time.monotonic())) if waiting else 0.1
        for handle in select.select([near, far], [], [], pause)[0]:
            packet = os.read(handle, PACKET)
            if dice.random() >= loss:
                waiting.append((time.monotonic() + delay, other[handle], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, handle, packet = waiting.popleft()
            with contextlib.suppress(OSError):  # a device that is not up yet, or full: one more loss
                os.write(handle, packet)


def _nth(subnet: str, number: int) -> str:
    head, _, last = subnet.rpartition(".")
    return f"{head}.{int(last) + number}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, timeout=30, check=True)
