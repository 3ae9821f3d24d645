"""How long a text may be, for every text encoder of transformers that can be built small."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertConfig, BertModel, RobertaConfig, RobertaModel

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.tuner import position_limit
from shared.every_kind import learn
from shared.tiny import WORDS, make_tokenizer

POSITIONS, LONG = 24, 30
SIZES = {
    **dict.fromkeys(("hidden_size", "dim", "d_model", "emb_dim", "embedding_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 1),
    **dict.fromkeys(("num_attention_heads", "n_heads", "num_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "num_decoder_layers"), 2),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 24),
    "d_kv": 8,
    "head_dim": 8,
    "attention_window": 8,
    "vocab_size": 64,
    "pad_token_id": 1,
    **dict.fromkeys(("max_position_embeddings", "max_encoder_position_embeddings"), POSITIONS),
}
AFTER_PADDING = (
    "camembert data2vec-text esm longformer markuplm mpnet roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl"
)
FROM_ZERO = """albert bert bert-generation big_bird bigbird_pegasus bart blenderbot blenderbot-small convbert deberta
    deberta-v2 distilbert electra ernie flaubert fnet layoutlm led marian mbart megatron-bert mobilebert mra mvp
    nystromformer pegasus plbart rembert roformer splinter squeezebert xlm yoso"""
MADE_FOR = "eurobert jina_embeddings_v3 m2m_100 modernbert nllb-moe nomic_bert tapas"  # reads more, but never did
ENDLESS = "longt5 mt5 switch_transformers t5 umt5"
LIMITS = {
    **dict.fromkeys(AFTER_PADDING.split(), POSITIONS - 2),
    **dict.fromkeys((FROM_ZERO + " " + MADE_FOR).split(), POSITIONS),
    **dict.fromkeys(ENDLESS.split(), None),
}


def build(kind, **changes):
    known = AutoConfig.for_model(kind)
    sizes = {name: value for name, value in SIZES.items() if name in known.to_dict() or hasattr(known, name)}
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **sizes | changes)).eval()
    return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model


def reads(model, length):
    ids = torch.full((1, length), 5)
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("kind", LIMITS)
def test_c1_the_position_limit_of_every_text_encoder(kind):
    model, limit = build(kind), LIMITS[kind]
    assert position_limit(model) == limit and reads(model, limit or LONG)
    assert reads(model, (limit or LONG) + 1) == (kind in (MADE_FOR + " " + ENDLESS).split())


def test_deberta_without_absolute_positions_reads_on():
    model = build("deberta-v2", position_biased_input=False, relative_attention=True)
    assert position_limit(model) is None and reads(model, 2 * POSITIONS)


def test_a_model_without_text_has_no_limit():
    assert position_limit(torch.nn.Linear(2, 2)) is None


@pytest.mark.parametrize("limit", [None, 12])
@pytest.mark.parametrize(("kind", "longest"), [("roberta", 22), ("bert", 24)])
def test_c1_a_long_text_is_cut_where_the_positions_end(kind, longest, limit):
    config, build = {"roberta": (RobertaConfig, RobertaModel), "bert": (BertConfig, BertModel)}[kind]
    sizes = {name: value for name, value in SIZES.items() if name in config().to_dict()}
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = limit or int(1e30)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    model = AtlasModel(build(config(**sizes | {"vocab_size": len(WORDS)})), tokenizer, AtlasConfig(r=2))
    learn(model, "one", {})
    assert model.preprocessor.encode_texts([["a " * 100]])["input_ids"].shape == (1, limit or longest)
    assert len(model.predict("one", texts="a " * 100)) == 2
