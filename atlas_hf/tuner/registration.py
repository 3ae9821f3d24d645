"""Makes ATLAS known to PEFT, as its own `register_peft_method` does for the methods of its closed enum."""

from __future__ import annotations

from typing import Any

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from atlas_hf.tuner.config import AtlasConfig, AtlasPeftType
from atlas_hf.tuner.model import AtlasTuner


def register() -> None:
    """Idempotent: importing the package twice, or reloading it, changes nothing."""
    kind: Any = AtlasPeftType.ATLAS  # PEFT's types are a closed enum
    PEFT_TYPE_TO_CONFIG_MAPPING[kind] = AtlasConfig
    PEFT_TYPE_TO_TUNER_MAPPING[kind] = AtlasTuner
    PEFT_TYPE_TO_PREFIX_MAPPING[kind] = AtlasTuner.prefix
