"""The maths of ATLAS: pure functions of tensors, from coefficients to the orthogonality penalty.

Imports torch only.
"""

from atlas_hf.fusion.fusing import VARIANTS, WEIGHTINGS, fuse, fuse_packs, orthogonality

__all__ = ["VARIANTS", "WEIGHTINGS", "fuse", "fuse_packs", "orthogonality"]
