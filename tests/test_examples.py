"""The examples do what they say. Slow: ``python -m pytest --slow -m slow``."""

import importlib.util
import pathlib

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_digits_cnn(tmp_path, capsys):
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("digits_cnn", EXAMPLES / "digits_cnn.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    result = example.train(show=True)
    assert "#" * 40 in capsys.readouterr().err
    assert result.accuracy > 0.97
    assert result.seconds < 120
    example.draw(result, tmp_path / "digits.png")
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
