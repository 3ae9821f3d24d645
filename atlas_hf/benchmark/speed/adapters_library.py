"""The `adapters` library in `atlas-hf benchmark-speed`: a process in that library's own environment."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from atlas_hf.benchmark.speed import adapters_worker
from atlas_hf.model import AtlasModel


class AdaptersWorker:
    """AdapterFusion over as many adapters, of the same width, as a task of an `AtlasModel` reuses. Raises a
    `ValueError` if there is no such interpreter, it lacks the library, or that does not know the backbone.
    """

    def __init__(self, python: str, model: AtlasModel, task: str, inputs: dict[str, Tensor], threads: int) -> None:
        # -I: PYTHONPATH and the file's folder belong to this environment
        command = [python, "-I", str(Path(adapters_worker.__file__).resolve())]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            raise ValueError(f"{python} cannot be started ({error.strerror}); give a Python interpreter") from error
        config = model.get_base_model().config
        try:
            self.versions = self._ask(
                call="build", config=json.loads(config.to_json_string()), width=model.peft_config[task].r,
                adapters=len(model.peft_config[task].experience),
                shapes={name: list(tensor.shape) for name, tensor in inputs.items()}, threads=threads,
            )["versions"]  # fmt: skip
        except ValueError:
            self.close()
            raise

    def seconds(self, call: str) -> float:
        """Of `"forward"` or `"step"`, by the clock of that process's processor time."""
        return self._ask(call=call)["seconds"]

    def peak_bytes(self) -> int:
        """Of one training step."""
        return self._ask(call="peak")["bytes"]

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _ask(self, **request: Any) -> dict[str, Any]:
        with suppress(BrokenPipeError):  # it has ended: there is no answer either
            print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise ValueError(f"the process ended with status {self.process.wait()}; its message is above")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer
