import json
import os
import re
import subprocess
import sys
from pathlib import Path


def test_demo_makes_a_report_that_opens_offline(tmp_path: Path) -> None:
    command = "-m haihe_fl.cli.main demo --json --enterprises 6000 --lang en --work"
    done = subprocess.run(
        [sys.executable, *command.split(), str(tmp_path)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert len(facts["scenarios"]) == 30
    assert 0.6 < facts["auc"]["federated"] < 0.95
    assert facts["auc"]["pooled"] > 0.65
    assert facts["unit"] == "record" and facts["delta"] == 1e-5
    page = Path(facts["report"]).read_text(encoding="utf-8")
    assert facts["model_fingerprint"][:12] in page
    assert facts["run"] in page
    loaded = re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)([^"']+)""", page)
    assert loaded == []
    # A second demo starts a new consortium: synthetic borrowers have no budget to protect.
    assert len(list((tmp_path / "consortium" / "nodes").iterdir())) == 23
