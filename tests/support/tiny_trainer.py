# SPDX-License-Identifier: Apache-2.0
"""A trainer that learns nothing but behaves: events, checkpoints, resume, signals, and a loss that can explode.

A file ``order`` in its TMPDIR tells it to misbehave, once: see ORDERS.

Only the standard library: it starts in a tenth of a second, also in a container that holds python3 and nothing else.
Its checkpoints are zip archives, as torch writes them.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import random
import signal
import struct
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

INTERRUPTED = 85
CRC_TABLE = []
for index in range(256):
    for _ in range(8):
        index = index >> 1 ^ (0x82F63B78 if index & 1 else 0)  # noqa: PLW2901 - a CRC
    CRC_TABLE.append(index)


def read_config(path: str) -> dict[str, Any]:
    """Two levels of ``key: value``, where every value is JSON as well; over what `ade-hpc init` does not write."""
    config: dict[str, Any] = {"steps": 400, "hot_from": 150, "checkpoint_every": 20, "step_s": 0.005}
    here = config
    for text in Path(path).read_text().splitlines():
        line = text.partition("#")[0].rstrip()
        if not line:
            continue
        key, _, value = line.strip().partition(": ")
        if key.endswith(":"):
            here = config[key[:-1]] = {}
        else:
            (here if line.startswith(" ") else config)[key] = json.loads(value)
    return config


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


class Events:
    """A TFRecord file of scalar summaries, flushed at every step."""

    def __init__(self, folder: str) -> None:
        path = Path(folder) / f"events.out.tfevents.{int(time.time())}.{os.getpid()}"
        self.file = path.open("ab")

    def scalars(self, step: int, **values: float) -> None:
        for name, value in values.items():
            tag = name.replace("__", "/").encode()
            summary = field(1, field(1, tag) + b"\x15" + struct.pack("<f", value))
            event = b"\x09" + struct.pack("<d", time.time()) + b"\x10" + varint(step) + field(5, summary)
            head = struct.pack("<Q", len(event))
            self.file.write(head + masked(head) + event + masked(event))
        self.file.flush()


def save(folder: str, step: int, state: dict[str, float]) -> None:
    path = Path(folder) / f"step-{step:06d}.pt"
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        archive.writestr("state.json", json.dumps({"step": step, **state}))
    os.replace(partial, path)


def load(path: str) -> dict[str, float]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("state.json"))


def crash() -> None:
    import ctypes

    ctypes.string_at(0)


def fail() -> None:
    raise RuntimeError("the loss function has no mind of its own")


def deadlock() -> None:
    """As a data loader does: each waits for what the other holds."""
    import threading

    mine, theirs, both = threading.Lock(), threading.Lock(), threading.Barrier(2)

    def load() -> None:
        with theirs:
            both.wait()
            mine.acquire()

    threading.Thread(target=load, daemon=True).start()
    with mine:
        both.wait()
        theirs.acquire()


def eat(megabytes: int) -> None:
    hoard = [b"x" * 2**20 for _ in range(megabytes)]
    time.sleep(0.5)
    del hoard


def in_a_child(order: str) -> None:
    """The trouble of one worker of a loader, which the trainer survives."""
    child = os.fork()
    if not child:
        try:
            ORDERS[order]()
        except RuntimeError:
            traceback.print_exc()
        os._exit(1)
    os.waitpid(child, 0)


ORDERS: dict[str, Callable[[], object]] = {
    "finish": lambda: sys.exit(0),
    "exit": lambda: sys.exit(3),
    "crash": crash,
    "fail": fail,
    "deadlock": deadlock,
    "eat too much": lambda: eat(700),
    "eat much": lambda: eat(150),
    "pause": lambda: time.sleep(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit in a child": lambda: in_a_child("exit"),
    "crash in a child": lambda: in_a_child("crash"),
    "fail in a child": lambda: in_a_child("fail"),
    "kill in a child": lambda: in_a_child("kill"),
}


def obey() -> str:
    """Carry out an order, once; returns it, as some concern the loss."""
    path = Path(os.environ.get("TMPDIR", "/tmp")) / "order"
    try:
        order = path.read_text()
        path.unlink()
    except OSError:
        return ""
    ORDERS.get(order, lambda: None)()
    return order


def break_down(config: dict[str, Any], step: int) -> None:
    """What a test has planned for this very step."""
    if config.get("raise_at") == step:
        raise ValueError(f"bad batch at step {step}")
    if config.get("hang_at") == step:
        wait_for_ever()


def wait_for_ever() -> None:
    time.sleep(3600)


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("config", "tensorboard", "checkpoints"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--resume")
    parser.add_argument("--weights")
    args = parser.parse_args()
    config = read_config(args.config)
    if "ADE_STACKS" in os.environ and not config.get("mute"):
        faulthandler.register(signal.SIGUSR2, file=open(os.environ["ADE_STACKS"], "w"))  # noqa: SIM115 - for life
    asked: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
    state = {"step": 0, "loss": 2.0, "lr": config["optimizer"]["lr"]}
    if args.resume:
        state = load(args.resume)
    if args.weights:
        state["loss"] = load(args.weights)["loss"]
    lr = state["lr"] if config.get("ignore_config") else config["optimizer"]["lr"]
    step, loss = int(state["step"]), state["loss"]
    print(f"starts at step {step} with lr {lr}", flush=True)
    events, dice = Events(args.tensorboard), random.Random(step)
    while step < config["steps"]:
        step += 1
        too_hot = lr > 0.1 and step > config["hot_from"]
        loss = loss * 1.3 if too_hot else 0.05 + (loss - 0.05) * 0.98
        order = obey()
        loss = math.nan if order == "nan" else loss
        if order == "nan in another tag":
            events.scalars(step, grad_norm=math.nan)
        accuracy = 1 - loss / 3 if loss <= 3 else 0.1
        shown = loss if loss < 1e30 else math.nan
        rate = lr * (1 + math.cos(math.pi * step / config["steps"])) / 2 if config.get("cosine") else lr
        rate *= random.uniform(0.1, 0.9) if config.get("jitter") else 1.0
        wobble = dice.gauss(0, config.get("noise", 0.0))
        noisy = shown * (1 + wobble)
        events.scalars(
            step, loss__train=noisy, loss__val=noisy, accuracy__val=min(1.0, accuracy * (1 - wobble / 10)), lr=rate
        )
        if step % config["checkpoint_every"] == 0 or asked:
            save(args.checkpoints, step, {"loss": loss, "lr": lr})
        if asked:
            print(f"interrupted at step {step}", flush=True)
            return INTERRUPTED
        if config.get("exit_at") == step:
            return int(config["exit_with"])
        break_down(config, step)
        time.sleep(config["step_s"])
    print(f"finished at step {step}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
