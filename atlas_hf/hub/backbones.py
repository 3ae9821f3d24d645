"""Backbones that come with the package, and whether a folder or repository is one, before transformers is asked."""

from pathlib import Path

# By the id that atlas.json names.
SHIPPED_BACKBONES = {"atlas-hf/digits-vilt": Path(__file__).parents[1] / "streams" / "digits" / "digits_vilt"}
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def local_or_id(source: str) -> str:
    """How to name a backbone so that it is found from every working directory: a folder by its absolute path.

    As in transformers, a folder goes before a repository of the same name.
    """
    return str(Path(source).resolve()) if source not in SHIPPED_BACKBONES and Path(source).is_dir() else source


def check_backbone_folder(folder: Path) -> None:
    """Raises a `ValueError` with what to do if a folder has no configuration or no safetensors."""
    if not (folder / "config.json").is_file():
        inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
        remedy = f"Its folders {inner} do; give one of them" if inner else "Give one that save_pretrained wrote"
        raise ValueError(f"{folder} is no model of transformers: it has no config.json. {remedy}.")
    if not any(folder.glob("*.safetensors")):
        raise no_safetensors(str(folder), sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES))


def no_safetensors(source: str, found: list[str]) -> ValueError:
    """The error for a backbone, a folder or repository, whose weights are `found`."""
    if not found:
        return ValueError(f"{source} has no weights: no model.safetensors. Give a whole model.")
    converted = f"{Path(source).name}-safetensors"
    return ValueError(
        f"{source} has its weights as {', '.join(found)} alone. Pickled weights can run code, and only safetensors "
        "are read. If you trust it, convert it once, in Python with transformers: "
        f"AutoModel.from_pretrained({source!r}).save_pretrained({converted!r}), its processor likewise "
        f"(AutoTokenizer, AutoImageProcessor or AutoProcessor), and give {converted!r}."
    )
