"""``python -m numbaconv demo`` and ``explain``, as a user meets them."""

import io
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from numbaconv import demo, digit
from numbaconv.__main__ import main

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ["NumPy loops", "scipy.signal.convolve2d", "nc.conv2D_gemm"]
NAMES += ["nc.conv2d, direct", "nc.conv2d, im2col", "nc.conv2d, winograd", "torch.nn.Conv2d"]
INSTALL = "pip install 'numbaconv[demo]'"
ROW = re.compile(
    r"^  (?P<name>\S.*?)  +(?P<result>\d+x\d+x8) +(?P<first>[\d.]+) ms +(?P<later>[\d.]+) ms +(?P<difference>\S+)$",
    re.MULTILINE,
)


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    """The tests look at results, not at times."""
    monkeypatch.setattr(demo, "TIMED_SECONDS", 0.0)


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def rows(text):
    return {row["name"]: row for row in ROW.finditer(text)}


def process(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "numbaconv", *arguments]
    return subprocess.run(line, env=environment, stderr=subprocess.PIPE, timeout=300, check=False, **options)


# ------------------------------------------------------------------------------------------------ the demo


def test_demo_answers_the_question(capsys):
    assert main(["demo", "--no-picture"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    text = captured.out
    assert "The answer: (32, 32, 8)" in text
    assert "(32 + 1 + 1 - 3) / 1 + 1 = 32" in text
    assert "10.24432/C50P49" in text
    assert "CC BY 4.0" in text
    assert "All agree" in text
    assert "The picture" not in text
    assert all(len(line) <= 90 for line in text.splitlines())
    found = rows(text)
    expected = [name for name in NAMES if name != "torch.nn.Conv2d" or "not installed" not in text]
    assert list(found) == expected
    for name, row in found.items():
        assert row["result"] == "32x32x8"
        assert float(row["difference"]) < 2e-5, name


def test_demo_without_torch(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["demo", "--no-picture"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^  torch\.nn\.Conv2d +not installed$", text, re.MULTILINE)
    assert list(rows(text)) == NAMES[:-1]


def test_demo_writes_a_png(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert "demo.png" in capsys.readouterr().out
    content = (tmp_path / "demo.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    assert len(content) > 10_000


@pytest.mark.usefixtures("no_matplotlib")
def test_demo_without_matplotlib_draws_in_the_terminal(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    text = capsys.readouterr().out
    assert INSTALL in text
    picture = text[text.index(INSTALL) + len(INSTALL) :]
    assert all(name in picture for name in digit.filter_bank()[0])
    assert "█" in picture
    assert all(len(line) <= 78 for line in picture.splitlines())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_matplotlib")
def test_demo_in_an_ascii_terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["demo", "--output", "grüße.png"]) == 0
    text = written.getvalue().decode("ascii")
    assert "@@@" in text
    assert r"gr\xfc\xdfe.png" in text


def test_demo_says_when_implementations_disagree(capsys, monkeypatch):
    def wrong(kernel):
        return {"nc.conv2D_gemm": lambda image: demo.numpy_loops(image, kernel) + np.float32(0.01)}

    monkeypatch.setattr(demo, "implementations", wrong)
    assert main(["demo", "--no-picture"]) == 1
    text = capsys.readouterr().out
    assert "THEY DO NOT AGREE" in text
    assert float(rows(text)["nc.conv2D_gemm"]["difference"]) == pytest.approx(0.01, rel=0.1)


def test_demo_in_a_process_of_its_own(tmp_path):
    done = process("demo", cwd=tmp_path, stdout=subprocess.PIPE)
    assert done.stderr == b""
    assert done.returncode == 0
    text = done.stdout.decode()
    assert "The answer: (32, 32, 8)" in text
    assert set(NAMES[:-1]) <= set(rows(text))


# ------------------------------------------------------------------------------------ its image and filters


def test_digit():
    image = digit.digit_image()
    assert (image.shape, image.dtype) == ((32, 32, 1), np.float32)
    assert image.min() == 0
    assert image.max() == 1
    np.testing.assert_array_equal(image[5:28:3, 5:28:3, 0] * 16, digit.PIXELS)
    assert not image[:4].any()
    assert not image[:, -4:].any()


def test_filter_bank():
    names, kernel = digit.filter_bank()
    assert (kernel.shape, kernel.dtype) == ((3, 3, 1, 8), np.float32)
    assert len(set(names)) == 8
    sums = dict(zip(names, kernel.sum((0, 1, 2)), strict=True))
    assert {name for name, total in sums.items() if total == 1} == {"sharpen", "blur", "emboss"}
    assert all(total == 0 for name, total in sums.items() if name not in {"sharpen", "blur", "emboss"})


def test_edges_have_the_direction_of_their_name():
    names, kernel = digit.filter_bank()
    images = {
        "vertical edges": np.arange(5)[None].repeat(5, 0) > 1,
        "horizontal edges": np.arange(5)[:, None].repeat(5, 1) > 1,
        "diagonal edges /": np.add.outer(np.arange(5), np.arange(5)) > 4,
        "diagonal edges \\": np.subtract.outer(np.arange(5), np.arange(5)) < 0,
    }
    for name, image in images.items():
        maps = demo.numpy_loops(np.asarray(image, np.float32)[:, :, None], kernel)
        assert names[np.argmax(maps[2, 2, :4])] == name


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 5), (33, 70)])
def test_implementations_agree_at_any_size(shape):
    image = np.random.default_rng(0).random((*shape, 1), np.float32)
    _, kernel = digit.filter_bank()
    for name, function in demo.implementations(kernel).items():
        if function is not None:
            result = function(image)
            assert result.shape == (*shape, 8), name
            assert demo.largest_difference(result, image, kernel) < 2e-5, name


def test_largest_difference_sees_one_wrong_value_in_any_band():
    image = np.random.default_rng(0).random((300, 1100, 1), np.float32)
    _, kernel = digit.filter_bank()
    result = demo.scipy_convolution(image, kernel)
    assert demo.largest_difference(result, image, kernel) < 1e-5
    for row in (0, 89, 90, 91, 299):
        spoilt = result.copy()
        spoilt[row, 1099, 7] += 1
        assert demo.largest_difference(spoilt, image, kernel) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 4), (32, 32), (1000, 20)])
def test_terminal_picture_of_any_size(shape):
    text = demo.terminal_picture({"one": np.ones(shape), "two": np.zeros(shape), "3": -np.ones(shape)}, " .#")
    lines = text.splitlines()
    assert lines[0].split() == ["one", "two", "3"]
    assert 2 <= len(lines) <= 13
    assert all(len(line) <= 78 for line in lines)
    assert "#" in lines[1]
    assert "." not in text


# --------------------------------------------------------------------------------------------- own pictures


def test_own_picture(capsys, tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    image_module.fromarray(pixels).save(tmp_path / "photo.png")
    output = tmp_path / "maps.png"
    assert main(["demo", "--image", str(tmp_path / "photo.png"), "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert "The answer: (70, 90, 8)" in text
    assert "64x64 at most" in text
    assert "sixteenths" not in text
    found = rows(text)
    assert found.pop("NumPy loops")["result"] == "64x64x8"
    assert {row["result"] for row in found.values()} == {"70x90x8"}
    if demo.matplotlib_installed():
        assert output.read_bytes().startswith(b"\x89PNG")


def test_pictures_become_grey_from_0_to_1(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    ramp = np.array([[0, 51, 255]], np.uint8)
    pictures = {
        "grey.png": image_module.fromarray(ramp),
        "palette.gif": image_module.fromarray(ramp).convert("P"),
        "colour.bmp": image_module.fromarray(np.stack([ramp] * 3, -1)),
        "16bit.png": image_module.fromarray(ramp.astype(np.uint16) * 4 + 100),
        "float.tiff": image_module.fromarray(ramp.astype(np.float32) - 7),
        "transparent.png": image_module.fromarray(np.stack([0 * ramp] * 3 + [255 - ramp], -1)),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        image = digit.read_image(tmp_path / name)
        assert (image.shape, image.dtype) == ((1, 3, 1), np.float32), name
        np.testing.assert_allclose(image[0, :, 0], [0, 0.2, 1], atol=1e-6, err_msg=name)


def test_centre():
    image = np.arange(6 * 9).reshape(6, 9, 1)
    np.testing.assert_array_equal(demo.centre(image, 4), image[1:5, 2:6])
    np.testing.assert_array_equal(demo.centre(image, 7), image[:, 1:8])


# --------------------------------------------------------------------------------------------------- errors


def fails(capsys, *arguments):
    """Run a command that must fail; return its one line."""
    assert main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_missing_image(capsys, tmp_path):
    message = fails(capsys, "demo", "--image", tmp_path / "nope.png")
    assert message == f"numbaconv demo: cannot read the image '{tmp_path / 'nope.png'}': No such file or directory\n"


def test_image_is_a_directory(capsys, tmp_path):
    assert message_ends(fails(capsys, "demo", "--image", tmp_path), "Is a directory")


def test_image_is_forbidden(capsys, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    assert message_ends(fails(capsys, "demo", "--image", tmp_path / "a.png"), "Permission denied")


def test_image_is_something_else(capsys, tmp_path):
    pytest.importorskip("PIL.Image")
    for content in (b"", b"print('hello')\n", bytes(range(256)) * 9):
        (tmp_path / "a.png").write_bytes(content)
        message = fails(capsys, "demo", "--image", tmp_path / "a.png")
        assert message_ends(message, "it is not a picture that Pillow knows")


def test_damaged_image(capsys, tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    for suffix in ("png", "jpg", "gif", "tiff", "bmp"):
        path = tmp_path / f"damaged.{suffix}"
        image_module.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert "cannot read the image" in fails(capsys, "demo", "--image", path)


def test_image_without_pillow(capsys, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    message = fails(capsys, "demo", "--image", tmp_path / "a.png")
    assert message == f"numbaconv demo: --image needs Pillow, which is not installed: {INSTALL}\n"


def test_output_that_cannot_be_written(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    (tmp_path / "directory.png").mkdir()
    assert "it is a directory" in fails(capsys, "demo", "--output", tmp_path / "directory.png")
    assert "there is no directory" in fails(capsys, "demo", "--output", tmp_path / "nowhere" / "demo.png")
    assert "must end in .png" in fails(capsys, "demo", "--output", tmp_path / "demo.jpg")
    monkeypatch.setattr(os, "access", lambda *_: False)
    message = fails(capsys, "demo", "--output", tmp_path / "demo.png")
    assert "permission denied; choose another --output FILE, or --no-picture" in message


def test_output_is_the_image(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    image_module = pytest.importorskip("PIL.Image")
    path = tmp_path / "a.png"
    image_module.new("L", (5, 5)).save(path)
    before = path.read_bytes()
    assert "it is the image itself" in fails(capsys, "demo", "--image", path, "--output", path)
    assert path.read_bytes() == before


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "full.png").symlink_to("/dev/full")
    assert main(["demo", "--output", str(tmp_path / "full.png")]) == 2
    assert message_ends(capsys.readouterr().err, "No space left on device")


def test_too_little_memory_and_an_interrupt(capsys, monkeypatch):
    def exhaust(*_):
        raise MemoryError

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", exhaust)
    assert "not enough memory" in fails(capsys, "demo")
    monkeypatch.setattr(demo, "run", interrupt)
    assert main(["demo"]) == 130


def message_ends(message, reason):
    return message.startswith("numbaconv demo: cannot ") and message.endswith(f": {reason}\n")


# -------------------------------------------------------------------------------------------------- explain


def test_explain(capsys):
    assert main(["explain", "1,64,56,56", "64,64,3,3", "--padding", "1"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ *algorithm +\w+ +.*expected to be fastest", text, re.MULTILINE)
    assert len(re.findall(r"^ *rejected +\w+ +expected to take", text, re.MULTILINE)) == 3
    assert "(1, 64, 56, 56)" in text


def test_explain_with_every_option(capsys):
    options = "--padding same --stride 1,1 --dilation 2 --groups 2 --data-format NHWC --algorithm direct"
    assert main(["explain", "1,56,56,64", "64,32,3,3", *options.split()]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ *algorithm +direct_\w+ +asked for", text, re.MULTILINE)
    assert "(1, 56, 56, 64)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1,64,5,5", "64,64,7,7"], "kernel"),
        (["1,64,5,5", "64,64,3,3", "--algorithm", "magic"], "algorithm must be one of"),
        (["1,64,5,5", "64,64,3,3", "--stride", "3", "--algorithm", "winograd", "--padding", "valid"], "winograd"),
        (["1,64,5,5", "64,64,3,3", "--padding", "sometimes"], "padding"),
        (["1,64,5,5", "64,64"], "dimensions"),
        (["1,64,5,99999999999999999999", "64,64,3,3"], ""),
    ],
)
def test_explain_refuses(capsys, arguments, message):
    assert message in fails(capsys, "explain", *arguments)


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["explain", "1,64,x", "64,64,3,3"], ["explain", "1,2,3,4"], ["demo", "--colour", "red"]],
)
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "numbaconv" in capsys.readouterr().err


def test_explain_into_a_closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = process("explain", "1,1,9,9", "1,1,3,3", stdout=writer)
    finally:
        os.close(writer)
    assert done.stderr == b""
