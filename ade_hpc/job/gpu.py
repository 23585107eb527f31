# SPDX-License-Identifier: Apache-2.0
"""GPU use by NVML, where its Python binding (``nvidia-ml-py``) and a driver are installed; else nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ade_hpc.model import GpuUse

EVERY_S = 60.0


class Gpus:
    """The job's GPUs, sampled at most once a minute: a heartbeat may come more often."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._visible = environ.get("CUDA_VISIBLE_DEVICES")
        self._nvml = _load()
        self._sampled_at: float | None = None
        self._last: tuple[GpuUse, ...] = ()

    def use(self) -> tuple[GpuUse, ...]:
        """Never raises: a GPU that has fallen off the bus must not take the sidecar with it."""
        now = time.monotonic()
        if self._nvml is not None and (self._sampled_at is None or now - self._sampled_at >= EVERY_S):
            self._sampled_at = now
            try:
                self._last = tuple(self._sample(self._nvml))
            except self._nvml.NVMLError:
                self._last = ()
        return self._last

    def _sample(self, nvml: Any) -> list[GpuUse]:
        found = []
        for index in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            if is_ours(self._visible, index, str(nvml.nvmlDeviceGetUUID(device))):
                busy, memory = nvml.nvmlDeviceGetUtilizationRates(device), nvml.nvmlDeviceGetMemoryInfo(device)
                found.append(GpuUse(index, int(busy.gpu), int(memory.used)))
        return found


def is_ours(visible: str | None, index: int, uuid: str) -> bool:
    """By CUDA_VISIBLE_DEVICES: numbers, or (beginnings of) UUIDs; without it, all that NVML shows us are ours."""
    if visible is None:
        return True
    words = [word.strip() for word in visible.split(",") if word.strip()]
    return any(str(index) == word or (word.startswith("GPU-") and uuid.startswith(word)) for word in words)


def _load() -> Any:
    """The binding, with NVML initialised; None where either is not there."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
