"""The known architectures, tiny, without a processor, and the paths of their sites."""

import torch
import transformers

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXT = {**SIZE, "vocab_size": 30, "bos_token_id": 0, "eos_token_id": 1}
VISION = {**SIZE, "image_size": 16, "patch_size": 8}
DENSE = ("encoder.layer.{}.attention.output.dense", "encoder.layer.{}.output.dense")
TOWER = ("_model.encoder.layers.{}.self_attn.out_proj", "_model.encoder.layers.{}.mlp.fc2")
TOWERS = tuple(tower + path for tower in ("text", "vision") for path in TOWER)
BACKBONES = {
    "vilt": (transformers.ViltConfig(**VISION, vocab_size=30), DENSE),
    "bert": (transformers.BertConfig(**TEXT), DENSE),
    "roberta": (transformers.RobertaConfig(**TEXT), DENSE),
    "distilbert": (
        transformers.DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, vocab_size=30),
        ("transformer.layer.{}.attention.out_lin", "transformer.layer.{}.ffn.lin2"),
    ),
    "deberta-v2": (transformers.DebertaV2Config(**TEXT), DENSE),
    "deberta": (transformers.DebertaConfig(**TEXT, relative_attention=True, pos_att_type="p2c|c2p"), DENSE),
    "electra": (transformers.ElectraConfig(**TEXT, embedding_size=8), DENSE),
    "xlm-roberta": (transformers.XLMRobertaConfig(**TEXT), DENSE),
    "vit": (transformers.ViTConfig(**VISION), ("layers.{}.attention.o_proj", "layers.{}.mlp.fc2")),
    "dinov2": (
        transformers.Dinov2Config(**VISION, mlp_ratio=2),
        ("encoder.layer.{}.attention.o_proj", "encoder.layer.{}.mlp.fc2"),
    ),
    "clip": (transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12), TOWERS),
    "siglip": (transformers.SiglipConfig(text_config={**TEXT, "projection_size": 16}, vision_config=VISION), TOWERS),
}
PIXELS, IDS = torch.zeros(2, 3, 16, 16), torch.full((2, 5), 3)


def backbone(name):
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(BACKBONES[name][0]).eval()


def inputs_for(name):
    words = {} if name in ("vit", "dinov2") else {"input_ids": IDS}
    return words | ({"pixel_values": PIXELS} if name in ("vilt", "vit", "dinov2", "clip", "siglip") else {})
