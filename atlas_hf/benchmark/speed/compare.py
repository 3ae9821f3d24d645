"""Ways of computing the same backbone take turns, so that a change of the machine's speed hits all.

- `bare`: the backbone alone;
- `floor`: two plain matrix products over the stacked bottlenecks per site, which no K adapters can do without;
- `fused`: `AtlasModel`;
- `loop`: the same formulas as `fused`, one adapter after the other;
- `mixed`, forward only: `fused` with examples of four tasks in the batch, which reuse the same adapters;
- `lora`: PEFT's LoRA with as many adapters of the same width, all active (they add up, without coefficients);
- `xlora`: PEFT's X-LoRA with as many, weighted per token by a classifier; text only;
- `adapters`: AdapterFusion in the `adapters` library, a process in an environment of its own; on the CPU, in float32;
- `full`: full fine-tuning of the backbone, in place of both stages.

A training step is a forward pass in training mode, the loss, and the backward pass down to the first site; that of
`bare` and `floor` has the gradient of the input only, that of the others also those of the parameters that the
stage trains, and `fused` the orthogonality penalty. `xlora` and `adapters` weight frozen adapters, as the first stage
does, and have no second. On the CPU, times are the processor's (of all threads together); on CUDA, those between
events on the device. `torch.utils.benchmark.Timer` would repeat one statement at a time.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from atlas_hf.benchmark.speed.adapters_library import AdaptersWorker
from atlas_hf.benchmark.speed.adapters_worker import elapsed, peak_bytes
from atlas_hf.benchmark.speed.arguments import MEASURES, WAYS
from atlas_hf.benchmark.speed.ways import BACKBONES, TASK, Way, build
from atlas_hf.model import AtlasModel
from atlas_hf.report.text import markdown

HEADER = "backbone,variant,K,measure,way,samples/s,/ bare,/ floor,middle half,peak MiB,/ floor".split(",")
Record = dict[str, Any]
T = TypeVar("T")


def compare(backbone: str, variant: str, adapters: int, options: argparse.Namespace) -> tuple[list[Record], list[str]]:
    """A record per measure and way, and a line on each way that was not measured; `options` are the command's."""
    model = build(backbone, adapters, variant, options.dropout).to(options.device)
    torch.manual_seed(0)
    makers = BACKBONES[backbone][1]
    inputs = {name: make(options.batch, options.tokens).to(options.device) for name, make in makers.items()}
    worker, missing = _optional(model, inputs, options)
    notes = [f"{way} on {backbone}: not measured ({reason})" for way, reason in missing.items()]
    if worker:
        notes.append(f"adapters on {backbone}: {', '.join(map(' '.join, worker.versions.items()))}")
    records = []
    try:
        for name in options.measures:
            ways = [way for way in [*WAYS[:2], *options.ways] if way not in missing.keys() | MEASURES[name]]
            with torch.autocast(options.device, torch.bfloat16) if options.bf16 else nullcontext():
                found = measure(model, inputs, name, ways, options.repeats, worker)
            about = {"backbone": backbone, "variant": variant, "adapters": adapters, "measure": name}
            records += [about | record for record in found]
    finally:
        if worker:
            worker.close()
    return records, notes


def measure(
    model: AtlasModel, inputs: dict[str, Tensor], measure: str, ways: Sequence[str], repeats: int,
    worker: AdaptersWorker | None,
) -> list[Record]:  # fmt: skip
    """A record per way: the seconds of each round, and the bytes of the peak of one training step. `measure` is
    `"forward"` (evaluation, no gradients), or the stage of a training step; `worker` takes the turns of `adapters`.
    """
    if measure == "forward":
        model.set_task(TASK)
        model.eval()
    else:
        model.set_stage(TASK, measure)
        model.train()
    call, rows = "forward" if measure == "forward" else "step", len(next(iter(inputs.values())))
    labels = torch.zeros(rows, dtype=torch.long, device=model.device)
    turns: dict[str, Callable[[], float]] = {}
    peaks: dict[str, Callable[[], int]] = {}
    for name in ways:
        if name == "adapters" and worker:
            turns[name], peaks[name] = partial(worker.seconds, call), worker.peak_bytes
            continue
        way = Way(model, name)
        run = partial(way.infer, inputs) if call == "forward" else partial(way.step, inputs, labels)
        turns[name], peaks[name] = partial(elapsed, run, model.device), partial(peak_bytes, run, model.device)
    seconds = take_turns(turns, repeats)
    peak = {} if measure == "forward" else {name: peak() for name, peak in peaks.items()}
    records = []
    for name, times in seconds.items():
        record: Record = {"way": name, "seconds": times, "peak_bytes": peak.get(name)}
        record["samples_per_second"] = rows / statistics.median(times)
        record |= {f"to_{base}": ratios(times, seconds[base]) for base in {"bare", "floor", "fused"} & seconds.keys()}
        records.append(record | {"memory_to_floor": peak[name] / peak["floor"] if peak else None})
    return records


def take_turns(calls: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """What each call gives, round by round, after one that only brings files and weights into memory."""
    rounds = [{name: call() for name, call in calls.items()} for _ in range(repeats + 1)]
    return {name: [found[name] for found in rounds[1:]] for name in calls}


def _optional(
    model: AtlasModel, inputs: dict[str, Tensor], options: argparse.Namespace
) -> tuple[AdaptersWorker | None, dict[str, str]]:
    """The process of `adapters`, and by way why those that were asked for cannot be measured."""
    missing, worker = {}, None
    if "xlora" in options.ways and "pixel_values" in inputs:
        missing["xlora"] = "X-LoRA weights its adapters per text token, and takes no images"
    if "adapters" in options.ways:
        if not options.adapters_python:
            missing["adapters"] = "give --adapters_python"
        elif options.bf16 or model.device.type != "cpu":
            missing["adapters"] = "on the CPU and without --bf16 only"
        else:
            try:
                worker = AdaptersWorker(options.adapters_python, model, TASK, inputs, options.threads)
            except ValueError as error:
                missing["adapters"] = str(error)
    return worker, missing


def ratios(times: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """The spread of the quotients of each round."""
    return spread([one / other for one, other in zip(times, base, strict=True)])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {"median": median, "low": low, "high": high}


def written(found: Mapping[str, float]) -> list[str]:
    """A spread as two cells: the median, and the middle half."""
    return [f"{found['median']:.2f}", f"{found['low']:.2f}-{found['high']:.2f}"]


def table(records: Iterable[Mapping[str, Any]]) -> str:
    """The records as a Markdown table."""
    rows = []
    for record in records:
        peak = record["peak_bytes"]
        memory = ["", ""] if peak is None else [f"{peak / 2**20:.0f}", f"{record['memory_to_floor']:.2f}"]
        cells = [record[name] for name in ("backbone", "variant", "adapters", "measure", "way")]
        cells += [f"{record['samples_per_second']:.3g}", f"{record['to_bare']['median']:.2f}"]
        rows.append([*cells, *written(record["to_floor"]), *memory])
    return markdown(HEADER, rows, words=5)
