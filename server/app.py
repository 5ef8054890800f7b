"""The ServerApp: what the SuperLink runs at the centre for a training job.

The job is a folder on the centre's own disk (``job.json``); its progress and its result are
written beside it, so that ``haihe train`` can follow a run without Flower's log.
"""

import json
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from pydantic import BaseModel, ConfigDict

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.errors import HaiheError
from haihe_fl.workspace import Workspace
from server.job import TrainingJob
from server.recording import summary
from server.training import run_training

app = ServerApp()


class JobFile(BaseModel):
    """Content of ``job.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: TrainingJob
    catalogue: FeatureCatalogue
    workspace: Path


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the job named in the run's configuration."""
    folder = Path(str(context.run_config["job"]))
    request = JobFile.model_validate_json((folder / "job.json").read_bytes())

    def progress(what: str, done: int, total: int) -> None:
        with (folder / "progress.jsonl").open("a") as file:
            file.write(json.dumps({"what": what, "done": done, "total": total}) + "\n")

    result: dict[str, Any]
    try:
        report = run_training(
            grid, request.job, request.catalogue, Workspace.at(request.workspace), progress
        )
        result = {"ok": True, **summary(report)}
    except HaiheError as error:
        result = {"ok": False, "code": error.code, "en": error.en, "zh": error.zh}
    except Exception as error:
        result = {
            "ok": False,
            "code": "H5102",
            "en": f"the run failed: {type(error).__name__}; see the SuperLink's log",
            "zh": f"任务失败:{type(error).__name__};请查看 SuperLink 日志",
        }
        raise
    finally:
        partial = folder / "result.json.part"
        partial.write_text(json.dumps(result, ensure_ascii=False, indent=2))
        partial.rename(folder / "result.json")
