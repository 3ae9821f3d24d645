"""One rank of a short sequence, for `accelerate launch`: learns, and writes what it came to for the test to compare."""

import json
import sys
from pathlib import Path

import torch
from conftest import splits, tensor_digests, text_spec

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, AtlasTrainingArguments, learn_sequence, storage
from atlas_hf import sequence as sequence_module

torch.set_num_threads(1)
STREAM = [(text_spec(f"has-{letter}"), splits(letter)) for letter in "ab"]


class Curves(AtlasTrainer):
    """Collects the logs of every stage."""

    logs: list[dict[str, float]] = []

    def log(self, logs, *args, **kwargs):
        super().log(logs, *args, **kwargs)
        self.logs.append(self.state.log_history[-1])


def arguments(batch_size: int, accumulation: int) -> AtlasTrainingArguments:
    return AtlasTrainingArguments(
        output_dir="unused", num_train_epochs=2, per_device_train_batch_size=batch_size, learning_rate=5e-3,
        gradient_accumulation_steps=accumulation, query_lr_multiplier=10, orthogonality_weight=0.1,
        max_grad_norm=1e9, logging_strategy="steps", logging_steps=1, report_to="none", disable_tqdm=True,
        use_cpu=True,
    )  # fmt: skip


def main(backbone: str, folder: str, batch_size: str, accumulation: str) -> None:
    written, published = [], []
    write, publish = storage.write_json, sequence_module._publish
    storage.write_json = lambda path, values: (written.append(path.name), write(path, values))
    sequence_module._publish = lambda *given: (published.append(given[1]), publish(*given))
    sequence_module.AtlasTrainer = Curves
    args = arguments(int(batch_size), int(accumulation))
    model = AtlasModel.from_pretrained(backbone, config=AtlasConfig(r=4))
    results = learn_sequence(model, STREAM, args, Path(folder) / "out")
    keep = ("loss", "grad_norm", "accuracy", "orthogonality")
    curves = [{k: v for k, v in entry.items() if k.endswith(keep)} for entry in Curves.logs]
    tensors = {name: tensor for name, tensor in model.state_dict().items() if ".atlas_" in name}
    torch.save(tensors, Path(folder) / f"rank-{args.process_index}.pt")
    report = {"digests": tensor_digests(model), "curves": curves, "matrix": results["matrix"], "written": written,
              "published": published, "world": args.world_size}  # fmt: skip
    (Path(folder) / f"rank-{args.process_index}.json").write_text(json.dumps(report, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
