"""Every fault that was found by trying the package has a test named after it: `test_a1_...`, and so on.

A: what is the user's is lost or published. B: wrong without an error. C: late, obscure or misleading.
"""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FAULTS = [f"{letter}{number}" for letter, last in (("a", 7), ("b", 12), ("c", 14)) for number in range(1, last + 1)]
NAMES = re.findall(r"^def (test_\w+)", "\n".join(p.read_text() for p in TESTS.rglob("test_*.py")), flags=re.MULTILINE)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_a_test(fault):
    assert [name for name in NAMES if name.startswith(f"test_{fault}_")]
