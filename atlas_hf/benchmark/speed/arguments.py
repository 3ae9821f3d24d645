"""What `atlas-hf benchmark-speed` can measure, and its options. Imports nothing that takes long."""

from argparse import ArgumentParser
from pathlib import Path

BACKBONES = ("bert-4", "bert", "vit", "vilt")
WAYS = ("bare", "floor", "fused", "loop", "mixed", "lora", "xlora", "full")
MEASURES = {"forward": {"full"}, "experience": {"mixed"}, "expansion": {"mixed", "xlora", "adapters"}}  # without them
STARTUP = "startup"
HELP = """Example:
  atlas-hf benchmark-speed --output runs/speed
  atlas-hf benchmark-speed --backbones vilt bert vit --adapters 4 16 --output runs/speed-full
  atlas-hf benchmark-speed --adapters_python other-venv/bin/python
  atlas-hf benchmark-speed --backbones vilt --batch 128 --device cuda --bf16 --ways fused full
  atlas-hf benchmark-speed --measures startup"""


def add_arguments(parser: ArgumentParser) -> None:
    """The options, which `atlas_hf.benchmark.speed.run.run` takes."""
    parser.add_argument("--backbones", nargs="+", default=["bert-4"], choices=BACKBONES, help="default bert-4")
    parser.add_argument("--adapters", nargs="+", type=int, default=[1, 4, 16, 64], help="numbers of reused adapters")
    parser.add_argument("--variants", nargs="+", default=["paper"], choices=["paper", "reference"])
    ways = [*WAYS[2:-1], "adapters"]
    parser.add_argument("--ways", nargs="+", default=ways, choices=[*ways, "full"], help="beside bare and floor")
    parser.add_argument("--adapters_python", help="Python of an environment with the adapters library, to measure it")
    names, more = list(MEASURES), f"{STARTUP}: imports, and the command line"
    parser.add_argument("--measures", nargs="+", default=names, choices=[*names, STARTUP], help=more)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=185, help="per example; ViT has 197 whatever is given")
    parser.add_argument("--dropout", type=float, help="of the backbone in training; by default its configuration's")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that is not counted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", help="by default cuda if there is one, or cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--output", type=Path, help="folder for speed.json and speed.md")
