# SPDX-License-Identifier: Apache-2.0
"""What a trainer died of, from its exit code and its last words as real programs print them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ade_hpc.job.lastwords import diagnose

TRACEBACK = """Traceback (most recent call last):
  File "/ade/code/train.py", line 88, in <module>
    main()
  File "/ade/code/train.py", line 71, in step
    loss = model(batch)
           ^^^^^^^^^^^^
"""


def python(tmp_path: Path, text: str) -> tuple[int, list[str]]:
    """A real interpreter's last words."""
    script = tmp_path / "train.py"
    script.write_text(text)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False)
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return code, (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def step(n):\n    return 1 / n\nstep(0)\n", ("failed", "ZeroDivisionError at train.py:2 in step")),
        ("class Odd(Exception):\n    pass\nraise Odd('x')\n", ("failed", "Odd at train.py:3 in <module>")),
        ("import nothing_of_the_kind\n", ("failed", "ModuleNotFoundError at train.py:1 in <module>")),
        ("raise SystemExit(3)\n", ("failed", "exit code 3")),
        ("raise MemoryError\n", ("out-of-memory", "MemoryError at train.py:1 in <module>")),
        ("open('/dev/full', 'w').write('x' * 100_000)\n", ("disk-full", "OSError at train.py:1 in <module>")),
        ("import os\nos.abort()\n", ("signal", "SIGABRT")),
        (
            "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('batch 17') from error\n",
            ("failed", "KeyError at train.py:4 in <module>"),
        ),
        ("def f(n):\n    f(n + 1)\nf(0)\n", ("failed", "RecursionError at train.py:2 in f")),
    ],
)
def test_what_python_says(tmp_path: Path, text: str, expected: tuple[str, str]) -> None:
    assert diagnose(*python(tmp_path, text), 0) == expected


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ...",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 79.15 GiB total capacity",
        "RuntimeError: CUDA error: out of memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592",
        "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB.",
    ],
)
def test_gpu_memory(line: str) -> None:
    cause, signature = diagnose(1, (TRACEBACK + line).splitlines(), 0)
    assert cause == "cuda-out-of-memory"
    assert signature.endswith(" at train.py:71 in step")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
            "out-of-memory",
        ),
        ("OSError: [Errno 12] Cannot allocate memory", "out-of-memory"),
        ("OSError: [Errno 28] No space left on device: 'step-100.pt'", "disk-full"),
        ("OSError: [Errno 122] Disk quota exceeded", "disk-full"),
        ("RuntimeError: NCCL communicator was aborted on rank 1.", "failed"),
    ],
)
def test_other_resources(line: str, cause: str) -> None:
    assert diagnose(1, (TRACEBACK + line).splitlines(), 0)[0] == cause


def test_the_kernel_s_word_comes_first() -> None:
    """A loader's worker was killed for memory; the trainer only saw that it was gone."""
    words = [*TRACEBACK.splitlines(), "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed."]
    assert diagnose(1, words, 1)[0] == "out-of-memory"
    assert diagnose(137, [], 2) == ("out-of-memory", "SIGKILL")
    assert diagnose(137, [], 0) == ("signal", "SIGKILL")


def test_what_was_survived_is_not_what_it_died_of() -> None:
    """It tried a smaller batch after an out-of-memory, and broke much later on something else."""
    words = ["CUDA out of memory: trying batch size 16", "step 100 loss 0.5", *TRACEBACK.splitlines(), "KeyError: 'x'"]
    assert diagnose(1, words, 0) == ("failed", "KeyError at train.py:71 in step")
    survived = [*TRACEBACK.splitlines(), "torch.OutOfMemoryError: CUDA out of memory", *["step"] * 60]
    assert diagnose(139, survived, 0) == ("signal", "SIGSEGV")


def test_a_launcher_s_own_exception_is_not_the_cause() -> None:
    """torchrun prints the worker's traceback, then one of its own."""
    launcher = ["Traceback (most recent call last):", '  File "/usr/bin/torchrun", line 8, in <module>',
                "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: "]  # fmt: skip
    words = [f"[rank0]: {line}" for line in (TRACEBACK + "ValueError: bad").splitlines()] + launcher
    assert diagnose(1, words, 0) == ("failed", "ValueError at train.py:71 in step")


def test_any_bytes_will_do() -> None:
    for words in ([], [""], ["Traceback (most recent call last):"], ["\x00" * 10_000], ['  File "', "x" * 100_000]):
        assert diagnose(1, words, 0) == ("failed", "exit code 1")
    assert diagnose(250, [], 0) == ("signal", "signal 122")
