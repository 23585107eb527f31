# SPDX-License-Identifier: Apache-2.0
"""The report in a real headless Chromium, from disk: no error, no network, no sideways scrolling, light and dark."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ade_hpc.metrics.panels import Run
from ade_hpc.metrics.series import Curves, Series
from ade_hpc.model import Finding, Health
from ade_hpc.report.history import AttemptRow, Event
from ade_hpc.report.night import Goal, GpuHours, Night
from ade_hpc.report.page import render

pytestmark = pytest.mark.browser

NOW = 1.7e9
LONG = "a/tag/that/never/ends_" * 8
# Without the background flags Chromium looks up its maker's hosts at every start, whatever it shows.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-default-apps --enable-logging=stderr"
)
# Five seconds by the page's own clock, which stands still while there is something to do: else the page may be shown
# before the message of its frame has come.
PATIENT = "--virtual-time-budget=5000"
# Headless windows are at least 500 pixels wide, so the page is measured in a frame of the wanted width.
PROBE = """<script>
onload = () => parent.postMessage(JSON.stringify({
  width: innerWidth, content: document.documentElement.scrollWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  page: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
  pictures: [...document.querySelectorAll("svg")].map(one => one.getBoundingClientRect().width),
}), "*");
</script></body>"""
FRAME = """<!doctype html><meta name="color-scheme" content="light dark"><title>nothing came</title>
<script>onmessage = event => { document.title = event.data }</script>
<iframe src="probed.html" style="border: 0; width: WIDTHpx; height: 900px"></iframe>"""


def night() -> Night:
    """Two attempts, long names, everything that a section can hold."""
    steps = np.arange(0, 4000, 10)
    tags = ("accuracy/val", "loss/train", LONG)
    curves = Curves({tag: Series(tag, steps, NOW + steps, 1 / (1 + steps / 300)) for tag in tags})
    row = AttemptRow(1, NOW, "person", "submitted by hand", (), (), "", "0123456789abcdef", "4711", "superseded", 1)
    change = "optimizer.lr: 0.5 -> 0.05"
    second = replace(
        row, attempt=2, author="rule:diverged", changes=(change,), reason=f"diverging in {LONG}", outcome="open"
    )
    return Night(
        name="digits-" + "x" * 60,
        health=Health("running", "", "queue; heartbeat 12 on a-node-with-a-very-long-name.cluster.example.org"),
        seen_at=NOW,
        attempts=(row, second),
        needs=(f"No rule covers plateau in {LONG}.", "A proposal waits for you: `ade-hpc approve digits`."),
        would="optimizer.lr: 0.5 → 0.05",
        events=tuple(Event(NOW + n, "observed", f"attempt 1: running; found plateau in {LONG}") for n in range(9)),
        goal=Goal("accuracy/val", "max", 0.97, (0.99123, 3990, 2)),
        runs=(Run("attempt 1", curves), Run("attempt 2: optimizer.lr 0.5 → 0.05", curves, 600)),
        findings=(Finding("plateau", LONG, 2000, 3990, "intervene"),),
        diffs={2: f"--- a/config.yaml\n+++ b/config.yaml\n@@ -1 +1 @@\n-  lr: 0.5  # {'long ' * 60}\n+  lr: 0.05"},
        gpu=GpuHours(4, 12.5, 31.75, {1: (32.0, 0.25)}),
    )


def browse(page: Path, folder: Path, *flags: str) -> tuple[str, str]:
    """Open a file; what Chromium made of it (the DOM) and what it complained of."""
    done = subprocess.run(
        ["chromium", *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def requests(page: Path, folder: Path) -> tuple[set[str], str]:
    """What was asked of the network for the sake of this page, and what the console says."""
    log = folder / "net.json"
    _, complaints = browse(page, folder, f"--log-net-log={log}", f"--screenshot={folder / 'page.png'}")
    asked = set(re.findall(r'"url":"([^"]+)"', log.read_text()))
    own = re.compile(r"(file|data|chrome[\w-]*|about|blob):|https?://[\w.-]*\.(google|googleapis|gstatic)\.com/")
    return {url for url in asked if not own.match(url)}, complaints


def test_it_opens_from_disk_without_an_error_and_without_a_network(tmp_path: Path) -> None:
    """The page itself, untouched: no word on the console, and no request but for the file."""
    page = tmp_path / "report.html"
    page.write_text(render([night(), replace(night(), name="other")], now=NOW))

    asked, complaints = requests(page, tmp_path)

    assert asked == set()
    assert "CONSOLE" not in complaints
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_these_checks_would_notice(tmp_path: Path) -> None:
    """A page that loads a picture from a server and throws: both are seen."""
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>throw new Error("seen")</script>')
    asked, complaints = requests(page, tmp_path)
    assert "http://127.0.0.1:9/x.png" in asked
    assert "CONSOLE" in complaints


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_the_screen_in_light_and_dark(tmp_path: Path, width: int, dark: bool) -> None:
    """Measured by a script that only this test adds: the page's own policy would not let one run."""
    text = render([night(), replace(night(), name="other")], now=NOW)
    text = text.replace("'none'; style", "'none'; script-src 'unsafe-inline'; style").replace("</body>", PROBE)
    (tmp_path / "probed.html").write_text(text)
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)))

    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    dom, complaints = browse(frame, tmp_path, "--dump-dom", PATIENT, scheme, "--window-size=1400,1000")

    assert "CONSOLE" not in complaints
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None
    seen = json.loads(title[1].replace("&quot;", '"'))
    assert seen["width"] == width
    assert seen["content"] <= width
    assert seen["dark"] is dark
    assert (brightness(seen["page"]) < 60) is dark
    assert abs(brightness(seen["page"]) - brightness(seen["ink"])) > 150
    assert len(seen["pictures"]) == 6
    assert all(250 < picture <= width for picture in seen["pictures"])


def brightness(colour: str) -> float:
    return sum(float(number) for number in re.findall(r"[\d.]+", colour)[:3]) / 3
