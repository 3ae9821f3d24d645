"""Which of PEFT's test files are run, with which cases, and what is left out, each with its reason."""

from __future__ import annotations

from typing import Any

from stand_ins import MODELS

from atlas_hf import AtlasConfig

FILES = (
    "test_custom_models.py", "test_feature_extraction_models.py", "test_seq_classifier.py",
    "test_token_classification_qa.py", "test_config.py", "test_initialization.py", "test_low_level_api.py",
    "test_tuners_utils.py", "test_other.py", "test_mapping.py", "test_hub_features.py",
)  # fmt: skip

_CUSTOM = {
    "one linear": {"target_modules": ["lin0"]},
    "two linears": {"target_modules": ["lin0", "lin1"]},
    "a pattern": {"target_modules": r".*lin\d"},
    "a module to save": {"target_modules": ["lin0"], "modules_to_save": ["lin1"]},
    "channel weighting": {"target_modules": ["lin0"], "weighting": "channel", "num_queries": 3},
    "reference": {"target_modules": ["lin0"], "variant": "reference"},
}
CASES: dict[str, dict[str, list[Any]]] = {
    "test_custom_models": {
        "TEST_CASES": [(f"ATLAS {name}", "MLP", AtlasConfig, {"r": 4} | case) for name, case in _CUSTOM.items()],
        "ALL_PEFT_CONFIG_CLASSES": [AtlasConfig],
    },
    "test_feature_extraction_models": {
        "ALL_CONFIGS": [(AtlasConfig, {"task_type": "FEATURE_EXTRACTION", "target_modules": None, "r": 4})],
        "PEFT_FEATURE_EXTRACTION_MODELS_TO_TEST": [name for name in MODELS if name.endswith("Model")],
    },
    "test_seq_classifier": {
        "ALL_CONFIGS": [(AtlasConfig, {"task_type": "SEQ_CLS", "target_modules": None, "r": 4})],
        "PEFT_SEQ_CLS_MODELS_TO_TEST": [name for name in MODELS if name.endswith("Classification")],
    },
}
# Tests of something else than a tuner in general, by a pattern of their names.
LEFT_OUT: dict[str, str] = {}
# Tests that do not apply.
SKIPPED: dict[str, str] = {
    r"test_disable_adapters\[.*reference": (
        "the reference variant weights x itself, as the released code does: no identity at the start"
    ),
}
