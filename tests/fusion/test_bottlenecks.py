"""The sum of weighted bottlenecks: its own backward pass against autograd's, and what it keeps for it."""

import pytest
import torch

from atlas_hf.fusion import Pack, bottleneck, bottlenecks, fusing
from atlas_hf.fusion.bottlenecks import add_adapters

B, L, D = 2, 5, 6


def pack(adapters, width, trains=True, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = [(adapters, width, D), (adapters, width), (adapters, width, D), (adapters, D)]
    return Pack(*(torch.randn(s, generator=rng, dtype=dtype).requires_grad_(trains) for s in shapes))


def inputs(adapters, dtype=torch.float64):
    rng = torch.Generator().manual_seed(1)
    shapes = [(B, L, D), (B, adapters)]
    return [torch.randn(shape, generator=rng, dtype=dtype, requires_grad=True) for shape in shapes]


def plain(x, coefficients, packs):
    """As the formula reads."""
    adapters = [row for one in packs for row in zip(*one, strict=True)]
    updates = [bottleneck(x, down, bias, up.T, up_bias) for down, bias, up, up_bias in adapters]
    weights = coefficients.T[:, :, None, None]
    return x + sum(weight * update for weight, update in zip(weights, updates, strict=True))


PACKS = {"one": [(3, 4)], "two": [(2, 4), (1, 4)], "two widths": [(2, 3), (1, 4)], "own is narrower": [(2, 4), (1, 2)]}


@pytest.mark.parametrize("kept", [0, 2**19], ids=["computed again", "kept"])
@pytest.mark.parametrize("sizes", PACKS.values(), ids=PACKS)
def test_values_and_gradients(monkeypatch, sizes, kept):
    monkeypatch.setattr(bottlenecks, "KEPT", kept)
    packs = [pack(*size, seed=i) for i, size in enumerate(sizes)]
    x, coefficients = inputs(3)
    torch.testing.assert_close(add_adapters(x, coefficients, packs), plain(x, coefficients, packs))

    def function(x, coefficients, *weights):
        return add_adapters(x, coefficients, [Pack(*weights[i : i + 4]) for i in range(0, len(weights), 4)])

    assert torch.autograd.gradcheck(function, (x, coefficients, *(tensor for one in packs for tensor in one)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kept_or_computed_again_and_once_more_the_same_bits(monkeypatch, dtype):
    packs, found = [pack(2, 4, dtype=dtype), pack(1, 4, dtype=dtype, seed=1)], []
    x, coefficients = inputs(3, dtype)
    for kept in (0, 2**19, 2**19):
        monkeypatch.setattr(bottlenecks, "KEPT", kept)
        leaves = [x, coefficients, *packs[0], *packs[1]]
        found.append(torch.autograd.grad(add_adapters(x, coefficients, packs).square().sum(), leaves))
    for one, other, again in zip(*found, strict=True):
        assert torch.equal(one, other) and torch.equal(one, again)


def test_only_what_trains_has_a_gradient():
    frozen, own = pack(2, 4, trains=False), pack(1, 4)
    x, coefficients = inputs(3)
    add_adapters(x, coefficients, [frozen, own]).sum().backward()
    assert all(tensor.grad is None for tensor in frozen)
    assert all(tensor.grad.abs().sum() > 0 for tensor in (*own, x, coefficients))


@pytest.mark.parametrize(("kept", "saved"), [(0, 0), (2**19, B * L * 3 * 4)])
def test_a_large_bottleneck_is_not_kept(monkeypatch, kept, saved):
    monkeypatch.setattr(bottlenecks, "KEPT", kept)
    frozen, (x, coefficients) = pack(3, 4, trains=False), inputs(3)
    alive = {tensor.data_ptr() for tensor in (*frozen, x, coefficients)}
    numbers = []

    def count(tensor):
        numbers.append(0 if tensor.data_ptr() in alive else tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        add_adapters(x, coefficients, [frozen])
    assert sum(numbers) == saved


@pytest.mark.parametrize("variant", fusing.VARIANTS)
def test_what_is_large_is_not_kept_by_a_site_either(monkeypatch, variant):
    """Beside the sequence that the attention keeps: no scores, no bottleneck."""
    tokens, width = 16, 32
    weights, x = pack(4, width, trains=False, dtype=torch.float32), torch.randn(B, tokens, D, requires_grad=True)
    query, key = torch.randn(2, 4, 1, D).requires_grad_().unbind()
    found = {}
    for kept in (0, 2**19):
        monkeypatch.setattr(bottlenecks, "KEPT", kept)
        monkeypatch.setattr(fusing, "KEPT", kept)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            output, _ = fusing.fuse_packs(x, [weights], query, key, num_heads=2, variant=variant, weighting="adapter")
        found[kept] = torch.autograd.grad(output.square().sum(), [x, query, key], allow_unused=True)
        assert any(size >= B * tokens * 4 * width for size in sizes) == (kept > 0)
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other)


def test_there_is_no_second_derivative():
    x, coefficients = inputs(3)
    (first,) = torch.autograd.grad(add_adapters(x, coefficients, [pack(3, 4)]).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kept", [0, 2**19])
def test_autocast_computes_in_its_type_and_gives_gradients_of_the_parameters(monkeypatch, dtype, kept):
    monkeypatch.setattr(bottlenecks, "KEPT", kept)
    packs = [pack(2, 4, trains=False, dtype=torch.float32), pack(1, 4, dtype=torch.float32, seed=1)]
    x, coefficients = inputs(3, torch.float32)
    leaves = [x, coefficients, *packs[1]]
    with torch.autocast("cpu", dtype):
        output = add_adapters(x, coefficients, packs)
        found = torch.autograd.grad(output.float().square().sum(), leaves)
    expected = plain(x, coefficients, packs)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, atol=0.2, rtol=0.03)
    for one, other in zip(found, torch.autograd.grad(expected.square().sum(), leaves), strict=True):
        assert one.dtype == torch.float32 and (one - other).norm() < 0.03 * other.norm()
