"""One way from an image to pixels: what each kind of image becomes, and that every entry gives the same bits."""

import contextlib
import io
import random
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from atlas_hf import AtlasModel
from atlas_hf.cli import main
from atlas_hf.data.pixels import pixels
from atlas_hf.demo.questions import Question
from atlas_hf.model import answering_model
from shared.tiny import text_spec

NOISE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE)
FINE = (np.arange(16 * 24).reshape(16, 24) * 170).astype(np.uint16)
GLASS = Image.fromarray(np.dstack([NOISE, np.linspace(0, 255, 16 * 24).reshape(16, 24).astype(np.uint8)]))
CLEAR = Image.fromarray(NOISE[..., 0] // 64).convert("P")


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


KINDS = {
    "rgb": saved(PHOTO),
    "grey": saved(PHOTO.convert("L")),
    "black-and-white": saved(PHOTO.convert("1")),
    "palette": saved(PHOTO.convert("P", palette=Image.Palette.ADAPTIVE)),
    "clear-palette": saved(CLEAR, transparency=1),
    "alpha": saved(GLASS),
    "grey-alpha": saved(GLASS.convert("LA")),
    "clear-colour": saved(PHOTO, transparency=tuple(NOISE[0, 0].tolist())),
    "16-bit": saved(Image.fromarray(FINE)),
    "16-bit-tiff": saved(Image.fromarray(FINE), "TIFF"),
    "cmyk": saved(PHOTO.convert("CMYK"), "JPEG"),
    "animated": saved(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90), PHOTO.rotate(180)]),
    "png-exif": saved(PHOTO, exif=exif(8)),
} | {f"exif-{turn}": saved(PHOTO, "JPEG", exif=exif(turn)) for turn in range(1, 9)}
DEMO = {name for name in KINDS if "tiff" not in name}  # its formats


def array(image):
    return np.asarray(pixels(image))


@pytest.fixture(scope="module")
def model(vilt_folder):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(vilt_folder)
    model.add_task(text_spec("one", text_columns=[], image_columns=["image"]))
    model.set_stage("one", "complete")
    return model


@pytest.fixture
def asked(model, monkeypatch):
    """The pixels that a call gives to the backbone, of its last batch."""
    seen = []
    forward = type(model).forward

    def spy(self, *args, **inputs):
        seen.append(inputs["pixel_values"])
        return forward(self, *args, **inputs)

    monkeypatch.setattr(answering_model.AnsweringModel, "forward", spy)
    return lambda call: (call(), seen[-1])[1]


@pytest.mark.parametrize("kind", KINDS)
def test_b3_training_predict_command_and_demo_see_the_same_pixels(kind, model, asked, tmp_path, monkeypatch):
    path = tmp_path / f"image.{ {'16-bit-tiff': 'tiff', 'animated': 'gif'}.get(kind, 'png') }"
    path.write_bytes(KINDS[kind])
    features = Features({"image": ImageFeature()})
    collate = model.collator("one")
    expected = collate([{"image": pixels(path)}])["pixel_values"]

    for value in (str(path), {"bytes": KINDS[kind], "path": None}, Image.open(path)):
        row = Dataset.from_dict({"image": [value]}, features)[0]
        assert torch.equal(collate([row])["pixel_values"], expected), type(value)
    decoded = np.asarray(pixels(path))
    ways = [
        str(path),
        path,
        KINDS[kind],
        Image.open(path),
        Image.open(path).copy(),
        {"path": str(path), "bytes": None},
    ]
    ways += [decoded, torch.from_numpy(decoded.transpose(2, 0, 1).copy())]
    for way in ways:
        assert torch.equal(asked(lambda way=way: model.predict("one", way)), expected), type(way)

    monkeypatch.setattr(AtlasModel, "from_pretrained", lambda *_, **__: model)
    assert torch.equal(asked(lambda: main(["predict", "folder", "--task", "one", "--images", str(path)])), expected)
    if kind in DEMO:
        given = Question("one", (str(path),)).arguments(model.spec("one"))
        assert torch.equal(asked(lambda: model.predict("one", **given)), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK", "YCbCr", "P", "HSV"])
def test_plain_images_are_as_pillow_converts_them(mode):
    image = PHOTO.convert(mode)
    assert (array(image) == np.asarray(image.convert("RGB"))).all()
    assert pixels(PHOTO) is PHOTO


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_photo_is_upright(turn):
    turns = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Pillow's transpositions
    upright = PHOTO if turns[turn] is None else PHOTO.transpose(turns[turn])
    assert (array(saved(PHOTO, exif=exif(turn))) == np.asarray(upright)).all()


def test_transparency_lies_over_white():
    from transformers.image_transforms import convert_to_rgb

    colours, alpha = NOISE.astype(float), np.asarray(GLASS)[..., 3:] / 255
    assert np.abs(array(GLASS) - (alpha * colours + (1 - alpha) * 255)).max() <= 1
    for name in ("alpha", "grey-alpha", "clear-palette", "clear-colour"):
        assert (array(KINDS[name]) == np.asarray(convert_to_rgb(Image.open(io.BytesIO(KINDS[name]))))).all(), name
    assert (array(saved(CLEAR, transparency=1))[np.asarray(CLEAR) == 1] == 255).all()
    solid = Image.fromarray(np.dstack([NOISE, np.full((16, 24), 255, np.uint8)]))
    assert (array(solid) == NOISE).all()


def test_16_bits_are_scaled_and_not_clipped():
    high = np.repeat((FINE >> 8).astype(np.uint8)[..., None], 3, axis=2)
    for image in (KINDS["16-bit"], KINDS["16-bit-tiff"], FINE, Image.fromarray(FINE), FINE.astype(">u2")):
        assert (array(image) == high).all()
    assert (array(Image.fromarray(FINE.astype(np.int32))) == high).all(), "as Pillow before 11.3 reads such a PNG"


def test_arrays_and_tensors():
    first = torch.from_numpy(NOISE.transpose(2, 0, 1).copy())
    for values in (NOISE, NOISE.transpose(2, 0, 1), first, first.long(), first.float() / 255, NOISE / 255):
        assert (array(values) == NOISE).all()
    grey = NOISE[..., 0]
    for values in (grey, grey[..., None], grey[None], torch.from_numpy(grey)[None]):
        assert (array(values) == grey[..., None]).all()
    assert (array(np.asarray(GLASS)) == array(GLASS)).all()
    assert set(np.unique(array(grey > 100))) == {0, 255}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("nowhere.png", "There is no image file nowhere.png. Give the path of one"),
        (b"no image", "A file's bytes are no image that can be read: cannot identify image file"),
        (KINDS["rgb"][:600], "A file's bytes are no image that can be read: .*Give a whole PNG, JPEG"),
        (7, "int is no image; give a path, a file's bytes, an array, a tensor or a PIL image"),
        ({"path": None, "bytes": None}, "NoneType is no image; give a path"),
        (np.zeros(4, np.uint8), r"An array of the shape \(4,\) is no image; give \(H, W\)"),
        (np.zeros((5, 6, 7), np.uint8), r"An array of the shape \(5, 6, 7\) is no image"),
        (np.zeros((0, 4, 3), np.uint8), r"An array of the shape \(0, 4, 3\) is no image"),
        (
            np.full((4, 4), 300),
            "An array of int64 from 300 to 300 is no image; give whole numbers 0 to 255, uint16",
        ),
        (np.full((4, 4), np.nan), "An array of float64 from nan to nan is no image"),
        (np.full((4, 4), 2.5), "or fractions in"),
        (Image.new("F", (4, 4), 17.0), "An array of float32 from 17.0 to 17.0 is no image"),
        (Image.new("I", (4, 4), 70_000), "An array of int32 from 70000 to 70000 is no image"),
    ],
)
def test_what_is_no_image(given, error):
    with pytest.raises(ValueError, match=f"(?s){error}"):
        pixels(given)


def test_a_photo_that_breaks_off_is_said_to_be_unreadable():
    with pytest.raises(ValueError, match="The image cannot be read: image file is truncated.* Give another"):
        pixels(Image.open(io.BytesIO(saved(PHOTO, "JPEG")[:700])))


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what is damaged
@pytest.mark.parametrize("kind", ["rgb", "exif-6", "animated", "16-bit-tiff", "palette"])
def test_damaged_files_are_pixels_or_a_clear_error(kind):
    draw = random.Random(0)
    for _ in range(60):
        data = bytearray(KINDS[kind])
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(min(len(data), 300))] = draw.randrange(256)
        data = bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        with contextlib.suppress(ValueError):
            assert pixels(data).mode == "RGB"


def test_b3_predict_opens_a_batch_at_a_time(model, tmp_path, monkeypatch):
    """A thousand paths are neither a thousand open files nor a thousand images in memory."""
    path = tmp_path / "image.png"
    path.write_bytes(KINDS["rgb"])
    held = SimpleNamespace(now=0, most=0)
    inputs = answering_model.AtlasCollator.inputs

    def spy(self, rows):
        held.most = max(held.most, len(rows))
        return inputs(self, rows)

    monkeypatch.setattr(answering_model.AtlasCollator, "inputs", spy)
    assert len(model.predict("one", [str(path)] * 10, batch_size=4)) == 10 and held.most == 4
    with pytest.raises(ValueError, match="There is no image file nowhere.png"):
        model.predict("one", [str(path), "nowhere.png"])


def test_a_picture_that_asks_for_too_much_is_one_line(vilt_folder, tmp_path, capsys):
    """60,000 by 60,000 pixels, as the header of a small file says."""
    small = saved(Image.new("L", (1, 1)))
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + small[24:29]
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:])
    model = AtlasModel.from_pretrained(vilt_folder)
    model.add_task(text_spec("one", image_columns=("image",)))
    model.set_stage("one", "complete")
    model.save_pretrained(tmp_path / "folder")
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "folder"), "--task", "one", "--images", str(bomb), "--text", "a"]) == 2
    said = capsys.readouterr().err
    assert "bomb.png" in said and said.count("\n") == 1
