"""docs/performance.md and its pictures are what benchmarks/performance.py makes of docs/performance.json."""

import json
import pathlib
import sys

import pytest
from PIL import Image

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="not in a checkout")


@pytest.fixture(scope="module")
def performance():
    """The script as a module, and its neighbours beside it."""
    sys.path.insert(0, str(BENCHMARKS))
    import performance

    yield performance
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def figures(performance):
    return json.loads(performance.FIGURES.read_text())


def test_the_page_is_true_to_the_figures(performance, figures):
    assert performance.page(figures) == (performance.DOCS / "performance.md").read_text(encoding="utf-8")


def test_the_pictures_are_of_these_figures(performance, figures):
    for name in performance.PAGES:
        with Image.open(performance.DOCS / "performance" / f"{name}.png") as picture:
            assert picture.text["Source"] == performance.Slice(figures, name).digest, name


def test_no_result_was_wrong(figures):
    rows = [row for part in figures.values() if isinstance(part["rows"], list) for row in part["rows"]]
    assert len(rows) > 100
    assert [row["name"] for row in rows if row["wrong"]] == []
