"""`python -m atlas_hf.benchmark.speed`: `atlas-hf benchmark-speed`, which by default measures start-up as well."""

import sys

from atlas_hf.benchmark.speed.command import STARTUP, main
from atlas_hf.benchmark.speed.compare import MEASURES

main(sys.argv[1:], [*MEASURES, STARTUP])
