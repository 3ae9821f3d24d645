"""The model that comes with the package: `atlas-hf learn --stream digits --order multi-first --downstream`."""

from pathlib import Path

DIGITS_MODEL = Path(__file__).parent / "digits_model"
DIGITS_MODEL_ID = "atlas-hf/digits-atlas"
