"""`python tests/conformance`: PEFT's own tests, run on ATLAS.

They come from the source distribution of the installed version of PEFT, which is fetched into `.conformance/`, and are
not part of this repository. `plugin.py` puts `AtlasConfig` and tiny local models in the place of theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from files import FILES

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".conformance"


def fetch(release: str) -> Path:
    """The folder of PEFT's tests, made a package, as they import one another."""
    folder = CACHE / f"peft-{release}"
    if not folder.is_dir():
        options = ["--no-deps", "--no-binary", ":all:", "--dest", str(CACHE), f"peft=={release}"]
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *options], check=True)
        with tarfile.open(CACHE / f"peft-{release}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
    tests = folder / "tests"
    (tests / "__init__.py").touch()
    return tests


def main() -> int:
    tests = fetch(version("peft"))
    paths = [str(tests.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
    command = [
        sys.executable, "-m", "pytest", "-p", "plugin", "--rootdir", str(tests.parent), "-c", os.devnull,
        "-p", "no:cacheprovider", "-q", "-rfEs", *(str(tests / name) for name in FILES), *sys.argv[1:],
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
