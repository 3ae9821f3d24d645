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
does, and have no second. On the CPU, times are the processor's (of all threads together), so that other programs on
the machine count less; on CUDA, those between events on the device. `torch.utils.benchmark.Timer` repeats one
statement at a time, and warms up anew for each.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from atlas_hf.benchmark.speed.adapters_library import AdaptersWorker
from atlas_hf.benchmark.speed.adapters_worker import elapsed, peak_bytes
from atlas_hf.benchmark.speed.arguments import MEASURES, WAYS
from atlas_hf.benchmark.speed.ways import BACKBONES, TASK, Way, build
from atlas_hf.model import AtlasModel
from atlas_hf.report.text import markdown

HEADER = "backbone,variant,K,measure,way,samples/s,/ bare,/ floor,middle half,peak MiB,/ floor".split(",")


def compare(
    backbone: str, variant: str, adapters: int, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[str]]:
    """A record per measure and way, and a line on each way that was not measured; `options` are the command's."""
    model = build(backbone, adapters, variant, options.dropout).to(options.device)
    torch.manual_seed(0)
    makers = BACKBONES[backbone][1]
    inputs = {name: make(options.batch, options.tokens).to(options.device) for name, make in makers.items()}
    records = []
    with ExitStack() as stack:
        workers, missing = _optional(model, inputs, options)
        notes = [f"{way} on {backbone}: not measured ({reason})" for way, reason in missing.items()]
        for way, worker in workers.items():
            stack.callback(worker.close)
            notes.append(f"{way} on {backbone}: {', '.join(map(' '.join, worker.versions.items()))}")
        for name in options.measures:
            ways = [way for way in [*WAYS[:2], *options.ways] if way not in missing.keys() | MEASURES[name]]
            with torch.autocast(options.device, torch.bfloat16) if options.bf16 else nullcontext():
                found = measure(model, inputs, name, ways, options.repeats, workers)
            about = {"backbone": backbone, "variant": variant, "adapters": adapters, "measure": name}
            records += [about | record for record in as_records(*found, options.batch)]
    return records, notes


def measure(
    model: AtlasModel,
    inputs: dict[str, Tensor],
    measure: str,
    ways: Sequence[str],
    repeats: int,
    workers: Mapping[str, AdaptersWorker],
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each repetition by way, and bytes of the peak of one training step.

    Args:
        measure: `"forward"` (evaluation, no gradients), or the stage of a training step.
        repeats: rounds; in each round every way has its turn. One more round goes before them and is not counted.
        workers: the processes that take the turns of their ways.
    """
    if measure == "forward":
        model.set_task(TASK)
        model.eval()
    else:
        model.set_stage(TASK, measure)
        model.train()
    call = "forward" if measure == "forward" else "step"
    turns = {way: _turn(model, way, inputs, call, workers) for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 1):
        for way, (turn, _) in turns.items():
            seconds[way].append(turn())
    peaks = {} if measure == "forward" else {way: peak() for way, (_, peak) in turns.items()}
    return {way: times[1:] for way, times in seconds.items()}, peaks


def _turn(
    model: AtlasModel, name: str, inputs: dict[str, Tensor], call: str, workers: Mapping[str, AdaptersWorker]
) -> tuple[Callable[[], float], Callable[[], int]]:
    """What gives the seconds of a way's call, and the bytes of its peak."""
    if name in workers:
        return partial(workers[name].seconds, call), workers[name].peak_bytes
    way, rows = Way(model, name), len(next(iter(inputs.values())))
    labels = torch.zeros(rows, dtype=torch.long, device=model.device)
    run = partial(way.infer, inputs) if call == "forward" else partial(way.step, inputs, labels)
    return partial(elapsed, run, model.device), partial(peak_bytes, run, model.device)


def _optional(
    model: AtlasModel, inputs: dict[str, Tensor], options: argparse.Namespace
) -> tuple[dict[str, AdaptersWorker], dict[str, str]]:
    """The processes by way, and by way why those that were asked for cannot be measured."""
    workers: dict[str, AdaptersWorker] = {}
    missing: dict[str, str] = {}
    if "xlora" in options.ways and "pixel_values" in inputs:
        missing["xlora"] = "X-LoRA weights its adapters per text token, and takes no images"
    if "adapters" not in options.ways:
        return workers, missing
    if not options.adapters_python:
        missing["adapters"] = "give --adapters_python"
    elif options.bf16 or model.device.type != "cpu":
        missing["adapters"] = "on the CPU and without --bf16 only"
    else:
        try:
            workers["adapters"] = AdaptersWorker(options.adapters_python, model, TASK, inputs, options.threads)
        except ValueError as error:
            missing["adapters"] = str(error)
    return workers, missing


def as_records(seconds: Mapping[str, list[float]], peaks: Mapping[str, int], batch: int) -> list[dict[str, Any]]:
    """Of one measure, one per way: from the seconds of each round, and the bytes of the peak, by way."""
    found = []
    for way, times in seconds.items():
        record: dict[str, Any] = {"way": way, "seconds": times, "peak_bytes": peaks.get(way)}
        record["samples_per_second"] = batch / statistics.median(times)
        for base in {"bare", "floor", "fused"} & seconds.keys():
            record[f"to_{base}"] = ratios(times, seconds[base])
        found.append(record | {"memory_to_floor": peaks[way] / peaks["floor"] if peaks else None})
    return found


def ratios(times: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """The spread of the quotients of each round."""
    return spread([one / other for one, other in zip(times, base, strict=True)])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {"median": median, "low": low, "high": high}


def table(records: Iterable[Mapping[str, Any]]) -> str:
    """The records as a Markdown table."""
    rows = []
    for record in records:
        floor, peak = record["to_floor"], record["peak_bytes"]
        memory = ["", ""] if peak is None else [f"{peak / 2**20:.0f}", f"{record['memory_to_floor']:.2f}"]
        cells = [record[name] for name in ("backbone", "variant", "adapters", "measure", "way")]
        cells += [f"{record['samples_per_second']:.3g}", f"{record['to_bare']['median']:.2f}"]
        rows.append([*cells, f"{floor['median']:.2f}", f"{floor['low']:.2f}-{floor['high']:.2f}", *memory])
    return markdown(HEADER, rows, words=5)
