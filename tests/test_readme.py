"""What the README shows is true: its Python runs, its errors read as they stand there."""

import builtins
import pathlib
import re

import numpy as np
import pytest

import numbaconv as nc

README = pathlib.Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
ERRORS = re.findall(r">>> (.*)\n(\w+Error): (.*)\n", README)


@pytest.mark.parametrize("code", BLOCKS)
def test_python_runs(code, capsys):
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 (our own README)
    assert capsys.readouterr().out


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors_read_as_shown(call, error, message):
    with pytest.raises(getattr(builtins, error)) as raised:
        eval(call, {"nc": nc, "np": np})  # noqa: S307 (our own README)
    assert str(raised.value) == message


def test_there_is_something_to_run():
    assert len(BLOCKS) >= 2
    assert len(ERRORS) >= 2
