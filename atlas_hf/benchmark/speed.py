"""How long a forward pass and a training step take, and how much memory, with K adapters: `atlas-hf benchmark-speed`.

Ways of computing the same backbone take turns in one run, so that a change of the machine's speed hits all:

- `bare`: the backbone alone;
- `floor`: two plain matrix products over the stacked bottlenecks per site, which no K adapters can do without;
- `fused`: `AtlasModel`;
- `loop`: the same formulas as `fused`, one adapter after the other;
- `mixed`, forward only: `fused` with examples of four tasks in the batch, which reuse the same adapters;
- `lora`: PEFT's LoRA with as many adapters of the same width, all active (they add up, without coefficients);
- `full`: full fine-tuning of the backbone, in place of both stages.

A training step is a forward pass in training mode, the loss, and the backward pass down to the first site; that of
`bare` and `floor` has the gradient of the input only, that of the others also those of the parameters that the
stage trains, and `fused` the orthogonality penalty. On the CPU, times are the processor's (of all threads together),
so that other programs on the machine count less; on CUDA, those between events on the device. Medians, and as spread
the range of the middle half.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas_hf.benchmark.speed_ways import BACKBONES, TASK, WAYS, Way, build
from atlas_hf.modeling import AtlasModel

HELP = """Time a forward pass and the training steps of both stages against a bare backbone and the least possible.

Example:
  atlas-hf benchmark-speed --output runs/speed
  atlas-hf benchmark-speed --backbones vilt bert vit --adapters 4 16 --output runs/speed-full
  atlas-hf benchmark-speed --backbones vilt --batch 128 --device cuda --bf16 --ways fused full"""

MEASURES = ("forward", "experience", "expansion")


def measure(model: AtlasModel, inputs: dict[str, Tensor], measure: str, names: Sequence[str], repeats: int) -> Any:
    """Seconds of each repetition by way, and bytes of the peak of one training step.

    Args:
        measure: `"forward"` (evaluation, no gradients), or the stage of a training step.
        names: of the ways.
        repeats: rounds; in each round every way has its turn. One more round goes before them and is not counted.
    """
    if measure == "forward":
        model.set_task(TASK)
        model.eval()
    else:
        model.set_stage(TASK, measure)
        model.train()
    labels = torch.zeros(len(next(iter(inputs.values()))), dtype=int, device=model.device)
    runs: dict[str, Callable[[], Any]] = {}
    for name in names:
        way = Way(model, name)
        runs[name] = partial(way.step, inputs, labels) if measure != "forward" else partial(_infer, way, inputs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            seconds[name].append(elapsed(run, model.device))
    peaks = {} if measure == "forward" else {name: peak_bytes(run, model.device) for name, run in runs.items()}
    return {name: times[1:] for name, times in seconds.items()}, peaks


@torch.no_grad()
def _infer(way: Way, inputs: dict[str, Tensor]) -> Tensor:
    return way.forward(inputs)


def elapsed(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the processor's time, or of the device's."""
    if device.type != "cuda":
        start = time.process_time()
        function()
        return time.process_time() - start
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


def compare(backbone: str, adapters: int, variant: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A record per measure and way; `options` are the command's."""
    model = build(backbone, adapters, variant, options.dropout).to(options.device)
    torch.manual_seed(0)
    makers = BACKBONES[backbone][1]
    inputs = {name: make(options.batch, options.tokens).to(options.device) for name, make in makers.items()}
    records = []
    for name in options.measures:
        ways = [way for way in [*WAYS[:2], *options.ways] if way != ("full" if name == "forward" else "mixed")]
        with torch.autocast(options.device, torch.bfloat16) if options.bf16 else nullcontext():
            seconds, peaks = measure(model, inputs, name, ways, options.repeats)
        for way in ways:
            record = {"backbone": backbone, "variant": variant, "adapters": adapters, "measure": name, "way": way}
            record |= {"seconds": seconds[way], "peak_bytes": peaks.get(way)}
            record["samples_per_second"] = options.batch / statistics.median(seconds[way])
            for base in {"bare", "floor", "fused"} & set(ways):
                record[f"to_{base}"] = _ratio(seconds[way], seconds[base])
            records.append(record | {"memory_to_floor": peaks[way] / peaks["floor"] if peaks else None})
    return records


def _ratio(times: list[float], base: list[float]) -> dict[str, float]:
    """Of the times of each round: median and quartiles."""
    ratios = [one / other for one, other in zip(times, base, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"median": median, "low": low, "high": high}


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a Markdown table."""
    lines = [
        "| backbone | variant | K | measure | way | samples/s | / bare | / floor | middle half | peak MiB | / floor |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        floor, peak = record["to_floor"], record["peak_bytes"]
        memory = ["", ""] if peak is None else [f"{peak / 2**20:.0f}", f"{record['memory_to_floor']:.2f}"]
        cells = [str(record[name]) for name in ("backbone", "variant", "adapters", "measure", "way")]
        cells += [f"{record['samples_per_second']:.3g}", f"{record['to_bare']['median']:.2f}"]
        cells += [f"{floor['median']:.2f}", f"{floor['low']:.2f}-{floor['high']:.2f}", *memory]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    options = _parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    records = []
    for backbone in options.backbones:
        for variant in options.variants:
            for adapters in options.adapters:
                new = compare(backbone, adapters, variant, options)
                print(table(new), flush=True)
                records += new
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        about = {name: value for name, value in vars(options).items() if name != "output"}
        about["torch"] = torch.__version__
        (options.output / "speed.json").write_text(json.dumps({"about": about, "records": records}, indent=2) + "\n")
        (options.output / "speed.md").write_text(table(records) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="atlas-hf benchmark-speed", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["bert-4"], choices=list(BACKBONES), help="default bert-4")
    parser.add_argument("--adapters", nargs="+", type=int, default=[1, 4, 16, 64], help="numbers of reused adapters")
    parser.add_argument("--variants", nargs="+", default=["paper"], choices=["paper", "reference"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS[2:6]), choices=WAYS[2:], help="beside bare and floor")
    parser.add_argument("--measures", nargs="+", default=list(MEASURES), choices=MEASURES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=185, help="per example; ViT has 197 whatever is given")
    parser.add_argument("--dropout", type=float, help="of the backbone in training; by default its configuration's")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that is not counted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--output", type=Path, help="folder for speed.json and speed.md")
    return parser
