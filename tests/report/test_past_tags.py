# SPDX-License-Identifier: Apache-2.0
"""`ade-hpc check` knows what the experiment's past runs have logged."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from ade_hpc.cli.main import app
from tests.metrics.event_files import frame, scalar, version

PREFERENCES = """# What I want

```yaml
objective: {tag: accuracy/val, goal: max}
rules:
  - {name: stuck, when: {metric: acuracy/val, below: 0.5}, do: {ask: true}}
```
"""


def test_a_rule_for_a_tag_that_nobody_logs_is_a_warning_once_something_has_run(tmp_path: Path) -> None:
    (tmp_path / "preferences.md").write_text(PREFERENCES)
    (tmp_path / "preferences.md").chmod(0o600)
    path = tmp_path / "experiment.yaml"
    path.write_text("name: digits\ncommand: python train.py\npreferences: preferences.md\n")

    def warned() -> list[tuple[str, int, bool]]:
        result = CliRunner().invoke(app, ["check", str(path), "--json"])
        assert result.exit_code == 0, result.output
        problems = json.loads(result.output)["problems"]
        assert all("did you mean `accuracy/val`?" in problem["message"] for problem in problems)
        return [(Path(problem["file"]).name, problem["line"], problem["warning"]) for problem in problems]

    assert warned() == []
    start = tmp_path / ".ade" / "digits" / "attempts" / "0001" / "tensorboard" / "0"
    start.mkdir(parents=True)
    (start / "events.out.tfevents.1.host").write_bytes(frame(version()) + frame(scalar("accuracy/val", 1, 0.5)))
    assert warned() == [("preferences.md", 6, True)]
