"""A source distribution that pip downloads, and the files in it, read in memory: nothing of it is unpacked."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock
from huggingface_hub import cached_assets_path

SECONDS = 600  # that pip may take


@dataclass(frozen=True)
class SourceDistribution:
    """A release on a package index: pip's own options and variables say on which.

    Args:
        sha256: of the file; no other is ever read.
        limit: bytes that a file written for it may have.
    """

    name: str
    version: str
    sha256: str
    limit: int

    @property
    def path(self) -> Path:
        """Its place in the cache of the Hub's libraries (`HF_ASSETS_CACHE`, `HF_HOME`)."""
        return Path(cached_assets_path("atlas_hf", "streams", "real")) / f"{self.name}-{self.version}.tar.gz"

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.name}=={self.version}"

    def read(self) -> bytes:
        """The archive: from the cache, or by `pip download`, which puts it there.

        Raises a `ValueError` with what to do if neither has it.
        """
        with FileLock(f"{self.path}.lock"):
            said = "" if self._is_there() else self._download()
            if not self._is_there():
                raise ValueError(
                    f"{self.requirement} could not be downloaded: {said}. On a machine with a package index, run pip "
                    f"download --no-deps --no-binary {self.name} {self.requirement}, and put {self.path.name} into "
                    f"{self.path.parent}."
                )
            return self.path.read_bytes()

    def _is_there(self) -> bool:
        if not self.path.is_file() or self.path.stat().st_size > self.limit:
            return False
        return hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256

    def _download(self) -> str:
        """Have pip write the file, after it has compared the digest; what pip said last."""
        with TemporaryDirectory() as folder:
            temporary = Path(folder) / "requirements.txt"
            temporary.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n", encoding="utf-8")
            options = ["--quiet", "--no-deps", "--no-binary", self.name, "--dest", str(self.path.parent)]
            command = [sys.executable, "-m", "pip", "download", *options, "--requirement", str(temporary)]
            try:
                done = subprocess.run(
                    command, check=False, capture_output=True, text=True, timeout=SECONDS,
                    preexec_fn=self._bound if os.name == "posix" else None,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return f"pip took more than {SECONDS} seconds"
        lines = done.stderr.strip().splitlines() or [f"pip wrote no {self.path.name}"]
        return lines[-1].rstrip(".")

    def _bound(self) -> None:
        """In pip's process: no file may grow past the limit."""
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))


def member(archive: bytes, name: str, limit: int) -> bytes:
    """The regular file of a `.tar.gz` whose path ends with `name`. Raises a `ValueError` if it is not there, or is
    larger than `limit` bytes.
    """
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
        for found in files:
            if found.isfile() and found.name.endswith(f"/{name}"):
                if found.size > limit:
                    raise ValueError(f"{found.name} has {found.size:,} bytes; at most {limit:,} are read.")
                content = files.extractfile(found)
                return content.read() if content else b""
    raise ValueError(f"There is no {name} in the archive.")
