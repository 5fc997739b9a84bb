"""Regressions cannot hide: asv on a scratch repository whose last commit slows a kernel down, and its dashboard."""

import functools
import http.server
import importlib.util
import inspect
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest

import numbaconv
from numbaconv.kernels.winograd import winograd_multiply
from numbaconv.planner import choose

ROOT = pathlib.Path(numbaconv.__file__).parents[1]
#: A layer of benchmarks/bench_layers.py, and how asv calls its figures.
LAYER = ((1, 256, 56, 56), (256, 256, 3, 3))
PROBLEM = "vgg16: conv3_2 256x56x56 -> 256 3x3"
FIGURES = ("track_time_over_roofline", "track_time_over_scipy")
#: How often the unchanged program is measured anew; each is a chance of a false alarm.
UNCHANGED = int(os.environ.get("NUMBACONV_UNCHANGED", "3"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("asv") is None, reason="asv is not installed"),
    pytest.mark.skipif(not (ROOT / "benchmarks" / "asv.conf.json").exists(), reason="not in a checkout"),
]


class Scratch:
    """A repository of our sources in which commits are made and measured, with a home directory of its own."""

    def __init__(self, root):
        self.root = root
        self.environment = {
            **os.environ, "HOME": str(root / "home"), "NUMBA_CACHE_DIR": str(root / "cache"),
            "PYTHONPATH": str(root), "ASV_PYTHONPATH": str(root),
        }  # fmt: skip
        (root / "home").mkdir(parents=True)
        ignored = shutil.ignore_patterns("__pycache__", "html", "results", "env")
        for name in ("numbaconv", "benchmarks"):
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        (root / ".gitignore").write_text("home/\ncache/\n.asv/\n__pycache__/\nnode_modules/\n")
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.asv("machine", "--yes", "--machine", "scratch")

    def run(self, *command):
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout.strip()

    def asv(self, *arguments):
        return self.run(
            sys.executable, "-m", "asv", "--config", str(self.root / "benchmarks" / "asv.conf.json"), *arguments
        )

    def commit(self, message):
        who = ("-c", "user.name=scratch", "-c", "user.email=scratch@example.org")
        self.run("git", "add", "--all")
        self.run("git", *who, "commit", "--quiet", "--message", message)
        return self.run("git", "rev-parse", "HEAD")

    def measure(self, commit):
        """Run the layer's figures on the sources as they are, for a commit, and publish."""
        bench = rf"bench_layers\.Layers\.({'|'.join(FIGURES)})\('{re.escape(PROBLEM)}"
        self.asv(
            "run", "--environment", f"existing:{sys.executable}", "--set-commit-hash", commit, "--machine", "scratch",
            "--bench", bench, "--show-stderr",
        )  # fmt: skip
        self.run(sys.executable, str(self.root / "benchmarks" / "dashboard.py"), "--no-serve")

    @property
    def pages(self):
        return self.root / ".asv" / "html"

    @property
    def regressions(self):
        """What asv reports: figure: (best value, last value, commit)."""
        found = json.loads((self.pages / "asv" / "regressions.json").read_text())["regressions"]
        revisions = json.loads((self.pages / "asv" / "index.json").read_text())["revision_to_hash"]
        return {
            item[0].split(".")[-1].split("(")[0]: (item[5], item[4], revisions[str(item[6][-1][1])]) for item in found
        }


def slow_down(root):
    """Have the kernel of the layer compute every panel of filters twice; the result stays right."""
    x, weight = (np.broadcast_to(np.float32(0), shape) for shape in LAYER)
    assert choose(numbaconv.explain(x, weight, padding=1).problem, packed=True).candidate == "winograd"
    function = winograd_multiply.py_func
    name, arguments = function.__name__, ", ".join(inspect.signature(function).parameters)
    path = root / pathlib.Path(function.__code__.co_filename).relative_to(ROOT)
    source = path.read_text()
    call = f"{name}_by_itself({arguments})"
    assert source.count(f"def {name}(") == 1
    slow = f'@kernel\ndef {name}({arguments}):\n    """Everything twice."""\n    {call}\n    return {call}\n\n\n'
    before, after = source.split(f"@kernel\ndef {name}(")
    whole, rest = after.split("\n\n\n@kernel", 1)
    path.write_text(f"{before}@kernel\ndef {name}_by_itself({whole}\n\n\n{slow}@kernel{rest}")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Commits, measured: the base, some that change nothing but a comment, and one that slows a kernel down."""
    repository = Scratch(tmp_path_factory.mktemp("scratch"))
    repository.measure(repository.commit("Base"))
    repository.alarms = []
    for number in range(UNCHANGED):
        with (repository.root / "numbaconv" / "problem.py").open("a") as file:
            file.write(f"# {number}\n")
        commit = repository.commit(f"Change a comment {number}")
        repository.measure(commit)
        repository.alarms.append(repository.regressions)
    slow_down(repository.root)
    repository.slow = repository.commit("Slow a kernel down")
    repository.measure(repository.slow)
    return repository


def test_no_false_alarm(scratch):
    assert scratch.alarms == [{}] * UNCHANGED


@pytest.mark.parametrize("figure", FIGURES)
def test_a_slow_kernel_is_reported(scratch, figure):
    best, last, commit = scratch.regressions[figure]
    print(f"{figure}: {best:.3f} became {last:.3f}")
    assert commit == scratch.slow
    assert 1.5 < last / best < 2.5


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binaries = shutil.which("chromium"), shutil.which("chromedriver")
    if None in binaries:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binaries[0]
    for option in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "window-size=1200,900",
        f"user-data-dir={tmp_path}",
    ):
        options.add_argument(f"--{option}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(binaries[1]))
    yield driver
    driver.quit()


@pytest.fixture
def site(scratch):
    """The published pages' address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

    handler = functools.partial(Quiet, directory=str(scratch.pages))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


#: How many pixels of the graph have a colour: asv marks a regression with a red line.
COLOURED = """
    const canvas = document.querySelector('#main-graph canvas.flot-base');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] > 0 && Math.abs(data[i] - arguments[0]) + Math.abs(data[i + 1] - arguments[1])
            + Math.abs(data[i + 2] - arguments[2]) < 40) count++;
    return count;
"""


def test_the_dashboard_renders(site, browser):
    if not (ROOT / "benchmarks" / "node_modules").is_dir():
        try:
            urllib.request.urlopen("https://code.jquery.com", timeout=10).close()
        except OSError:
            pytest.skip("asv's pages load scripts from the internet, which is not there: `npm install` in benchmarks/")
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, 30)
    browser.get(f"{site}/index.html")
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) == 3
    wait.until(lambda _: all(image.get_property("naturalWidth") > 300 for image in images))
    marked = browser.find_element(By.PARTIAL_LINK_TEXT, FIGURES[0]).get_property("href")
    picture(browser, "front")

    browser.get(f"{site}/asv/index.html#/")
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "#summarygrid-display .benchmark-container canvas"))
    titles = {item.text for item in browser.find_elements(By.CSS_SELECTOR, "#summarygrid-display .benchmark-text")}
    assert any(FIGURES[0] in title for title in titles), titles
    picture(browser, "grid")

    browser.get(marked.partition("&commits=")[0])
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "#main-graph canvas.flot-base"))
    assert browser.execute_script(COLOURED, 221, 0, 0) == 0
    browser.get(marked)
    wait.until(lambda page: page.execute_script(COLOURED, 221, 0, 0) > 50)
    picture(browser, "regression")


def picture(browser, name):
    """Keep a screenshot where NUMBACONV_SCREENSHOTS names a directory: docs/ has one from there."""
    directory = os.environ.get("NUMBACONV_SCREENSHOTS")
    if directory:
        browser.save_screenshot(str(pathlib.Path(directory) / f"{name}.png"))
