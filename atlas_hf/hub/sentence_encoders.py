"""What a sentence encoder was trained to be read by: sentence-transformers keeps that in a file beside the weights.

`1_Pooling/config.json` holds flags such as `{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}`.
"""

import logging
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from atlas_hf.folder import read_json
from atlas_hf.hub.backbones import SHIPPED_BACKBONES
from atlas_hf.hub.checks import is_repository

FILE, FLAG = "1_Pooling/config.json", "pooling_mode_"
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}  # its name -> that of `AtlasConfig`

logger = logging.getLogger(__name__)


def trained_pooling(source: str, revision: str | None = None, token: str | bool | None = None) -> str | None:
    """`"mean"` or `"cls"` for a sentence encoder that was trained so; None for any other backbone or pooling.

    Args:
        source: a folder, or the id of a repository. One that cannot be reached, and is not in the cache, is a warning.

    Raises:
        AtlasFormatError: the file cannot be read.
    """
    path = _find(str(SHIPPED_BACKBONES.get(source, source)), revision, token)
    flags = read_json(path) if path else {}
    modes = [name for name, on in flags.items() if name.startswith(FLAG) and on is True]
    return POOLINGS.get(modes[0]) if len(modes) == 1 else None


def _find(source: str, revision: str | None, token: str | bool | None) -> Path | None:
    if Path(source).is_dir() or not is_repository(source):
        return path if (path := Path(source) / FILE).is_file() else None
    try:
        return Path(hf_hub_download(source, FILE, revision=revision, token=token))
    except LocalEntryNotFoundError:
        if try_to_load_from_cache(source, FILE, revision=revision) is None:
            logger.warning(
                "Whether %s is a sentence encoder could not be asked: heads read its own pooler, or what "
                "AtlasConfig(pooling=...) says.", source,
            )  # fmt: skip
    except EntryNotFoundError:
        pass  # no sentence encoder
    return None
