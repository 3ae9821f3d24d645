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
# Errors that end a test because it does what does not apply, by their words.
NOT_APPLICABLE: dict[str, str] = {
    "An ATLAS adapter cannot be merged": "merges, and an ATLAS adapter's coefficients depend on the input",
    "a site must be a linear module": "adapts a module that is not linear, and ATLAS adapts linear ones only",
    "is a causal decoder. ATLAS needs an encoder": "adapts a causal decoder, and ATLAS needs an encoder",
    "has an encoder and a decoder. ATLAS needs": "adapts an encoder with its decoder, and ATLAS needs an encoder",
    "LocalEntryNotFoundError": "needs a model or a file from the Hub, and the run has no network",
    "OfflineModeIsEnabled": "needs a model or a file from the Hub, and the run has no network",
    "We couldn't connect to": "needs a model or a file from the Hub, and the run has no network",
    "Can't find 'adapter_config.json' at 'peft-internal-testing": "needs a file from the Hub, and there is no network",
    "is part of a module path of this model": "names an adapter after a module, which ATLAS refuses beforehand",
    "Hotswapping only supports LORA": "PEFT swaps the weights of LoRA only",
    "is not compatible with the `PeftMixedModel`": "PEFT has a closed list of what its mixed model takes",
}
# Tests that do not apply, by their names.
_INSIDE = "reads LoRA's own attributes (lora_A, r, scaling), parameter names or counts"
_NO_SUM = "adds adapters up (add_weighted_adapter), which no method but LoRA and its kin has"
SKIPPED: dict[str, str] = {
    r"test_disable_adapters\[.*reference": (
        "the reference variant weights x itself, as the released code does: no identity at the start"
    ),
    r"weighted_adapter|modules_to_save_merging_adapters": _NO_SUM,
    r"TestLayerRepr|test_loading_adapter_preserves_custom|test_multiple_active_adapters_forward": _INSIDE,
    r"TestRequiresGrad::test_requires_grad_(lora|modules_to_save|follows_inference_mode_modules)": _INSIDE,
    r"TestLowLevelFunctional::test_(inject_adapter_in_model|get_peft_model_state_dict|modules_to_save)$": _INSIDE,
    r"test_base_model_module_named_like_peft_prefix|test_save_pretrained_warns_for_unsharded": _INSIDE,
    r"diffusion$": "needs a diffusion pipeline from the Hub, and the run has no network",
    r"TestDynamicDispatch": "registers layers of the user's own with LoRA",
    r"test_default_target_modules_(list_of_str|str)": "puts default sites into LoRA's own table",
    r"TestHotSwapping": "PEFT swaps the weights of LoRA only",
    r"TestLoraInitialization|TestCordaInitialization|TestEvaInitialization": "how LoRA's own weights start",
    r"TestScaling|test_no_rank_nor_alpha_pattern": "LoRA's own scaling, ranks and alphas",
    r"test_(module_type|adapter_model_type|peft_types|nb_params)_|test_model_status_with_modules_to_save": _INSIDE,
    r"test_prefixes_(lora|select_correct|model_with_injected|multiple_adapters)": _INSIDE,
    r"TestBaseModelRevision|test_from_pretrained_cache_dir_remote": (
        "needs a model of another revision from the Hub, and the run has no network"
    ),
    r"test_custom_models_dont_have_transformers_tag": "PEFT's card has tags for PEFT's own methods only",
}
