"""`fuse` against numbers from elsewhere, and against the slow loop that reads like the formulas."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from atlas_hf import fusion
from atlas_hf.fusion.bottlenecks import Pack

CASES = sorted((Path(__file__).parent / "golden").glob("*.safetensors"))
INPUTS = ("x", "down_weight", "down_bias", "up_weight", "up_bias", "query", "key")


def read(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 (no dict)


def test_all_golden_cases_are_here():
    assert len(CASES) == 24


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("fuse", [fusion.fuse, fusion.fuse_loop])
def test_golden(path, dtype, tolerance, fuse):
    tensors, meta = read(path)
    inputs = {name: tensors[name].to(dtype) for name in INPUTS}
    options = {"num_heads": int(meta["num_heads"]), "variant": meta["variant"], "weighting": meta["weighting"]}
    output, coefficients = fuse(**inputs, **options, mask=tensors.get("mask"))
    torch.testing.assert_close(output.double(), tensors["expected_output"], atol=tolerance, rtol=0)
    torch.testing.assert_close(coefficients.double(), tensors["expected_coefficients"], atol=tolerance, rtol=0)
    for name in ("query", "key"):
        penalty = fusion.orthogonality(inputs[name].flatten(1)).double()
        torch.testing.assert_close(penalty, tensors[f"expected_{name}_penalty"][0], atol=tolerance, rtol=1e-5)


def draw(variant, weighting, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    queries = 1 if weighting == "adapter" else 4
    shapes = [(3, 7, 12), (2, 5, 12), (2, 5), (2, 12, 5), (2, 12), (2, queries, 12), (2, queries, 12)]
    tensors = [torch.randn(shape, generator=rng, dtype=dtype, requires_grad=True) for shape in shapes]
    return dict(zip(INPUTS, tensors, strict=True)), {"num_heads": 3, "variant": variant, "weighting": weighting}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("token_weight", fusion.TOKEN_WEIGHTS)
@pytest.mark.parametrize("weighting", fusion.WEIGHTINGS)
@pytest.mark.parametrize("variant", fusion.VARIANTS)
def test_values_and_gradients_equal_the_slow_loop(variant, weighting, token_weight, masked):
    inputs, options = draw(variant, weighting)
    options["token_weight"] = token_weight
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6]) if masked else None
    fast, slow = (f(**inputs, **options, mask=mask) for f in (fusion.fuse, fusion.fuse_loop))
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)
    weight = torch.linspace(-1, 1, fast[0].numel(), dtype=torch.float64).view_as(fast[0])
    gradients = [torch.autograd.grad((out * weight).sum(), list(inputs.values())) for out, _ in (fast, slow)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("token_weight", fusion.TOKEN_WEIGHTS)
@pytest.mark.parametrize("weighting", fusion.WEIGHTINGS)
@pytest.mark.parametrize("variant", fusion.VARIANTS)
def test_padding_takes_no_part(variant, weighting, token_weight):
    inputs, options = draw(variant, weighting)
    options["token_weight"] = token_weight
    short, _ = fusion.fuse(**{**inputs, "x": inputs["x"][:, :4]}, **options)
    mask = torch.tensor([[1] * 4 + [0] * 3] * 3)
    padded, _ = fusion.fuse(**inputs, **options, mask=mask)
    torch.testing.assert_close(padded[:, :4], short, atol=1e-12, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighting", fusion.WEIGHTINGS)
@pytest.mark.parametrize("variant", fusion.VARIANTS)
def test_tokens_that_share_a_weight_count_the_same_however_many_they_are(variant, weighting, masked):
    inputs, options = draw(variant, weighting)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6]) if masked else None
    long = {**inputs, "x": inputs["x"].repeat(1, 30, 1)}
    found = {}
    for token_weight in fusion.TOKEN_WEIGHTS:
        _, once = fusion.fuse(**inputs, **options, mask=mask, token_weight=token_weight)
        repeated = mask if mask is None else mask.repeat(1, 30)
        found[token_weight] = (
            fusion.fuse(**long, **options, mask=repeated, token_weight=token_weight)[1] - once
        ).abs()
    assert found["shared"].max() < 1e-12 and found["each"].max() > 0.03


@pytest.mark.parametrize("variant", fusion.VARIANTS)
def test_a_single_token_weighs_the_same_each_and_shared(variant):
    inputs, options = draw(variant, "channel")
    each, shared = (
        fusion.fuse(**{**inputs, "x": inputs["x"][:, :1]}, **options, token_weight=name)
        for name in fusion.TOKEN_WEIGHTS
    )
    for one, other in zip(each, shared, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", fusion.VARIANTS)
def test_a_shared_weight_is_finite_without_any_token_and_in_low_precision(variant, dtype):
    inputs, options = draw(variant, "adapter")
    exact = fusion.fuse(**inputs, **options, token_weight="shared")[1]
    inputs = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in inputs.items()}
    output, coefficients = fusion.fuse(
        **inputs, **options, token_weight="shared", mask=torch.tensor([[1] * 7, [0] * 7, [1] * 7])
    )
    output.sum().backward()
    assert all(tensor.isfinite().all() for tensor in [output, *(tensor.grad for tensor in inputs.values())])
    torch.testing.assert_close(
        coefficients[0].double(), exact[0], atol=1e-6 if dtype == torch.float32 else 0.03, rtol=0
    )


@pytest.mark.parametrize("variant", fusion.VARIANTS)
def test_zero_up_projection_changes_nothing_but_the_residual(variant):
    inputs, options = draw(variant, "adapter")
    inputs["up_weight"], inputs["up_bias"] = (torch.zeros_like(inputs[n]) for n in ("up_weight", "up_bias"))
    output, coefficients = fusion.fuse(**inputs, **options)
    scale = 1 if variant == "paper" else coefficients.sum(1)[:, None, None]
    torch.testing.assert_close(output, inputs["x"] * scale)


def test_an_adapter_is_not_seen_by_the_others():
    """A second adapter's query in the shared attention call must not move the first one's coefficient."""
    inputs, options = draw("paper", "channel")
    _, both = fusion.fuse(**inputs, **options)
    _, alone = fusion.fuse(**{n: t if n == "x" else t[:1] for n, t in inputs.items()}, **options)
    torch.testing.assert_close(both[:, :1], alone)


@pytest.mark.parametrize("token_weight", fusion.TOKEN_WEIGHTS)
@pytest.mark.parametrize("weighting", fusion.WEIGHTINGS)
@pytest.mark.parametrize("variant", fusion.VARIANTS)
def test_adapters_in_two_packs_compute_what_they_do_in_one(variant, weighting, token_weight):
    inputs, options = draw(variant, weighting)
    options["token_weight"] = token_weight
    x, down, down_bias, up, up_bias, query, key = inputs.values()
    packs = [Pack(down[i], down_bias[i], up.mT[i], up_bias[i]) for i in (slice(1), slice(1, None))]
    one, two = fusion.fuse(**inputs, **options), fusion.fuse_packs(x, packs, query, key, **options)
    for whole, split in zip(one, two, strict=True):
        torch.testing.assert_close(split, whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("variant", fusion.VARIANTS)
def test_no_tensor_of_k_outputs_is_made(variant):
    """Not even in the backward pass: the largest tensor saved for it is smaller than two outputs."""
    adapters, batch, tokens, size = 16, 2, 64, 48
    shapes = [(batch, tokens, size), (adapters, 3, size), (adapters, 3), (adapters, size, 3), (adapters, size)]
    tensors = [torch.randn(s, requires_grad=True) for s in [*shapes, (adapters, 1, size), (adapters, 1, size)]]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.numel()), t)[1], lambda t: t):
        fusion.fuse(*tensors, num_heads=4, variant=variant, weighting="adapter")
    assert max(saved) < 2 * batch * tokens * size


def test_orthogonality_is_zero_for_orthonormal_rows():
    assert fusion.orthogonality(torch.eye(5)[:3]) == 0
    assert fusion.orthogonality(torch.ones(2, 2)) == pytest.approx((1 + 4 + 4 + 1) / 4 / 4)
