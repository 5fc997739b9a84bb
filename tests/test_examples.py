"""The examples do what they say. Slow: ``python -m pytest --slow -m slow``."""

import importlib.util
import pathlib

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


@pytest.mark.slow
def test_richardson_lucy(tmp_path, capsys):
    load("richardson_lucy").main(tmp_path / "restored.png")
    assert "times" in capsys.readouterr().out
    assert (tmp_path / "restored.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_digits_cnn(tmp_path, capsys):
    pytest.importorskip("sklearn")
    example = load("digits_cnn")
    result = example.train(show=True)
    assert "#" * 40 in capsys.readouterr().err
    assert result.accuracy > 0.97
    assert result.seconds < 120
    example.draw(result, tmp_path / "digits.png")
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
