"""Time and memory of a call; as a program, those of AdapterFusion in the `adapters` library (arXiv 2005.00247).

That library needs another release of transformers, so `atlas-hf benchmark-speed --adapters_python` starts this file
with the interpreter of its environment; nothing of `atlas_hf` is imported. One JSON object per line on standard input
is a request, one on standard output the answer:

    {"call": "build", "config": {"model_type": "bert", ...}, "adapters": 4, "width": 48,
     "shapes": {"input_ids": [8, 185]}, "threads": 1}             -> {"versions": {...}}
    {"call": "forward"} or {"call": "step"}                       -> {"seconds": ...}
    {"call": "peak"}, the most bytes that a step held             -> {"bytes": ...}

What the library does not know, or a bad request, is answered by `{"error": ...}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, TextIO

import torch
from torch import Tensor, nn


def elapsed(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the processor's time, or of the device's."""
    if device.type != "cuda":
        began = time.process_time()
        function()
        return time.process_time() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def peak_bytes(function: Callable[[], Any], device: torch.device) -> int:
    """The most memory that torch held on the device during a call, beyond what it held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


class Fusion:
    """K adapters of one width at two sites per layer, and fusion layers over them; those and a head train."""

    def __init__(
        self, config: Mapping[str, Any], adapters: int, width: int, shapes: Mapping[str, list[int]], threads: int
    ) -> None:
        import transformers
        from adapters import BnConfig, init
        from adapters.composition import Fuse

        if adapters < 2:
            raise ValueError(f"there are {adapters} adapters; AdapterFusion is of two or more")
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config))
        init(self.model)
        size, names = self.model.config.hidden_size, [f"task-{index}" for index in range(adapters)]
        sites = BnConfig(mh_adapter=True, output_adapter=True, reduction_factor=size / width, non_linearity="swish")
        for name in names:
            self.model.add_adapter(name, config=sites)
        self.model.add_adapter_fusion(Fuse(*names))
        self.model.train_adapter_fusion(Fuse(*names))
        self.head = nn.Sequential(nn.Linear(size, 2 * size), nn.LayerNorm(2 * size), nn.GELU(), nn.Linear(2 * size, 2))
        tokens = partial(torch.randint, 5, 1000)
        self.inputs = {name: (tokens if name == "input_ids" else torch.randn)(shape) for name, shape in shapes.items()}

    def forward(self) -> Tensor:
        """Pooled vectors, (B, D)."""
        return self.model(**self.inputs).last_hidden_state.mean(1)

    @torch.no_grad()
    def infer(self) -> None:
        """One pass in evaluation."""
        self.model.eval()
        self.forward()

    def step(self) -> None:
        """One training step, without the optimizer's; the loss has the library's penalty on the fusion."""
        self.model.train()
        logits = self.head(self.forward())
        loss = nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        (loss + self.model.get_fusion_regularization_loss()).backward()
        for module in (self.model, self.head):
            module.zero_grad()


def serve(requests: Iterable[str], answers: TextIO) -> None:
    """Answer every line of the requests by one of the answers."""
    fusion = None
    for line in requests:
        request = json.loads(line)
        call = request.pop("call", None)
        answer: dict[str, Any]
        try:
            if call == "build":
                fusion = Fusion(**request)
                answer = {"versions": {name: version(name) for name in ("adapters", "transformers", "torch")}}
            else:
                answer = _answer(fusion, call)
        except (ImportError, ValueError, TypeError, KeyError, AttributeError) as error:
            answer = {"error": " ".join(str(error).split())}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(fusion: Fusion | None, call: str | None) -> dict[str, Any]:
    if fusion is None:
        raise ValueError(f"{call!r} before 'build'; send that first.")
    device = torch.device("cpu")
    if call == "peak":
        return {"bytes": peak_bytes(fusion.step, device)}
    if call not in ("forward", "step"):
        raise ValueError(f"There is no call {call!r}; possible are 'build', 'forward', 'step' and 'peak'.")
    return {"seconds": elapsed(fusion.infer if call == "forward" else fusion.step, device)}


if __name__ == "__main__":
    pipe, sys.stdout = sys.stdout, sys.stderr  # what the libraries print is no answer
    serve(sys.stdin, pipe)
