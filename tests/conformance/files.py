"""Which of PEFT's test files are run, with which cases, and what is left out, each with its reason."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Ending(NamedTuple):
    """How a test ends, and why it cannot go on."""

    words: str  # of the error
    reason: str


_MERGES = Ending(
    "An ATLAS adapter cannot be merged", "merges, and an ATLAS adapter's coefficients depend on the input"
)
_SITES = Ending(
    "a site must be a linear module", "adapts a module that is not linear, and ATLAS adapts linear ones only"
)
_DECODER = Ending("is a causal decoder. ATLAS needs an encoder", "adapts a causal decoder, and ATLAS needs an encoder")
_HUB = Ending(
    r"LocalEntryNotFoundError|OfflineModeIsEnabled|We couldn't connect to|Can't find 'adapter_config.json' at",
    "needs a model or a file from the Hub, and the run has no network",
)
_NAMES = Ending("is part of a module path of this model", "names an adapter after a module, which ATLAS refuses")
_MIXED = Ending(
    "the `PeftMixedModel`|supported for mixed models", "PEFT has a closed list of what its mixed model takes"
)
_SWAP = Ending("Hotswapping only supports LORA", "PEFT swaps the weights of LoRA only")
# Tests, by their names, that run until they do what does not apply: what they check before counts. Each must end in
# this way: another error fails, and so does a test that runs to its end.
ENDINGS: dict[str, Ending] = {
    r"::test_(merge_layers|safe_merge|forward_b?float16|disable_adapters_with_merging|merge_adapters_small)": _MERGES,
    r"::test_(delete_merged|multiple_active_adapters_merge|sequential_merge|unmerge_after)": _MERGES,
    r"::test_(model_merged_adapters_small|mixed_adapter_batches_merged_raises)": _MERGES,
    r"::test_(unload_with_inactive_modules_to_save\[merge)": _MERGES,
    r"::test_load_merged_and_unmerged_same_weights": _MERGES,
    r"::test_(save_pretrained_targeting_lora_to_embedding|load_resized_embedding)": _SITES,
    r"::test_(unload_adapter_multihead|mha_gradients|requires_grad_lora_(conv|emb))": _SITES,
    r"::test_mixed_adapter_batches_(lora_conv|mha)": _SITES,
    r"TestModelAndLayerStatus::test_\w+_large$": _SITES,
    r"TestModelAndLayerStatus::test_(model_)?(enabled|requires_grad(_model)?|\w+_adapters)_irregular$": _SITES,
    r"test_self_targeting_is_ignored\[AtlasConfig-config_kwargs1\]": _SITES,
    r"TestModelAndLayerStatus::test_((model_)?target_parameters|model_with_injected_layers)": _SITES,
    r"TestLoraInitialization::test_(lora_(embedding|conv2d)_(default|false)|lora_with_bias_argument)": _SITES,
    r"TestLoraInitialization::test_mha_(load_init_model_first|exposes_attributes|merge_masks_method)": _SITES,
    r"TestLayerRepr::test_repr_lora_(embedding|conv)": _SITES,
    r"::test_(lora_incompatible_mamba|nemotron_h_has_defaults|lora_corda_conv1d_gpt2)": _HUB,
    r"TestPeftConfig::test_(from_pretrained(_cache_dir)?|save_pretrained_with_runtime_config)\[": _HUB,
    r"::test_(delete_adapter_multiple_adapters_with_trainable_token|multiple_adapters_automatic_modules)": _HUB,
    r"::test_(multiple_adapters_seq_cls|gpt2_dora|dora_save_and_load|override_lora_linear)": _HUB,
    r"::test_inject_from_state_dict_and_from_config_target_same_layers\[.*(Llama|Bart)\]": _HUB,
    r"::test_(inject_from_state_dict_compiled|inject_.*weight_conversion|prefix_removal_is_undone)": _HUB,
    r"test_load_multiple_adapters_different_modules_to_save|tied_(to|returns).*random-t5": _HUB,
    r"test_(module_matching_lora|maybe_include_all_linear_(layers_(lora_\d|internals)|does_not_target))": _HUB,
    r"test_all_linear_nested|test_add_second_adapter_with_all_linear|::test_realistic_example": _HUB,
    r"test_base_model_type_transformers_automodel|test_transformers?_model(_without_adapter_raises)?$": _HUB,
    r"TestBaseTunerWarnForTiedEmbeddings": _HUB,
    r"test_load_different_peft_and_base_model|test_auto_peft_model_forwards_revision": _HUB,
    r"TestModelCard::test_(model_card_has_expected_tags|custom_peft_type_does_not_raise)": _HUB,
    r"test_from_config_model_saving_skips_empty_name_or_path": _DECODER,
    r"TestHotSwapping::test_hotswap_(works(_different_ranks_alphas)?(\[|$)|extra_key_raises)": _SWAP,
    r"::test_get_and_set_peft_model_state_dict_adapter_name_same_as_module_name": _NAMES,
    r"::test_add_adapter_rejects_duplicate_name_without_mutation\[True": _MIXED,
    r"::test_(no_infinite_recursion\[PeftMixedModel|mixed_model_from_pretrained_low_cpu_mem_usage_works)": _MIXED,
}
# Tests that do not apply, by their names.
_INSIDE = "reads LoRA's own attributes (lora_A, r, scaling), parameter names or counts"
_OPT = "names the modules of a decoder, and an encoder stands in its place"
_NO_SUM = "adds adapters up (add_weighted_adapter), which no method but LoRA and its kin has"
SKIPPED: dict[str, str] = {
    r"test_disable_adapters\[.*reference": (
        "the reference variant weights x itself, as the released code does: no identity at the start"
    ),
    r"weighted_adapter|modules_to_save_merging_adapters": _NO_SUM,
    r"TestLayerRepr::test_repr_lora_linear|test_loading_adapter_preserves_custom": _INSIDE,
    r"test_multiple_active_adapters_forward": _INSIDE,
    r"TestRequiresGrad::test_requires_grad_(lora|modules_to_save|follows_inference_mode_modules)": _INSIDE,
    r"TestLowLevelFunctional::test_(inject_adapter_in_model|get_peft_model_state_dict|modules_to_save)$": _INSIDE,
    r"test_base_model_module_named_like_peft_prefix|test_save_pretrained_warns_for_unsharded": _INSIDE,
    r"diffusion$": "needs a diffusion pipeline from the Hub, and the run has no network",
    r"TestDynamicDispatch": "registers layers of the user's own with LoRA",
    r"test_default_target_modules_(list_of_str|str)": "puts default sites into LoRA's own table",
    r"TestHotSwapping::test_hotswap_(missing_key|raises_when|allowed_when|works_different_ranks_(alphas_)?conv2d)": (
        "PEFT swaps the weights of LoRA only"
    ),
    r"TestHotSwapping::test_prepare_model_for_compiled_hotswap_(?!model_already_compiled_(raises|wrong)|model_no)": (
        "PEFT swaps the weights of LoRA only"
    ),
    r"TestLoraInitialization::test_lora_linear_(init_default|false)$": "how LoRA's own weights start",
    r"test_mha_with_separate_qkv|test_error_raised_if_rank_not_divisible": "LoRA's layers of other modules",
    r"TestLowCpuMemUsage::test_get_peft_model_": _INSIDE,
    r"TestScaling::test_scaling_(simple|multiple)|test_from_pretrained_missing_keys_warning": _OPT,
    r"test_inject_from_state_dict_(transformers_irregular|missing_keys|extra_keys)": _OPT,
    r"test_multiple_adapters_no_needless_copy_modules_to_save": _OPT,
    r"test_get_peft_model_applies_find_target_modules|test_get_modules_tied_to.*opt-125m-mapping": _OPT,
    r"removes_adapter_name_when_same_as_module|TestGetBaseModelStateDict::test_multiple_adapters": _OPT,
    r"test_modules_to_save_targets_lora_layer_raises": _INSIDE,
    r"test_no_rank_nor_alpha_pattern": "LoRA's own scaling, ranks and alphas",
    r"test_(module_type|adapter_model_type|peft_types|nb_params)_|test_model_status_with_modules_to_save": _INSIDE,
    r"test_prefixes_(lora|select_correct|model_with_injected|multiple_adapters)": _INSIDE,
    r"test_save_and_load_base_model_revision|test_from_pretrained_cache_dir_remote": (
        "needs a model of another revision from the Hub, and the run has no network"
    ),
    r"test_custom_models_dont_have_transformers_tag": "PEFT's card has tags for PEFT's own methods only",
}
