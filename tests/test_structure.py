"""The house: who imports whom, how long files are, what is documented. Every import counts, those in functions, too."""

import ast
import doctest
import importlib
import inspect
import pathlib
import re
import sys

import pytest

import numbaconv

ROOT = pathlib.Path(numbaconv.__file__).parent
#: The source files by their modules' names within the package; the package itself is "__init__".
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
FACES = {"functional", "transposed", "patches", "grad", "nn", "signal", "ndimage"}
#: What each module or package may import of this package: modules, or whole packages.
ARROWS = {
    "problem": set(),
    "forks": set(),
    "compiling": set(),
    "runtime": {"compiling", "forks"},
    "arrays": set(),
    "kernels": {"kernels", "runtime"},
    "algorithms": {
        "algorithms.cook_toom",
        "algorithms.prices",
        "algorithms.sharing",
        "algorithms.windows",
        "algorithms.winograd_cost",
        "algorithms.winograd_pieces",
        "algorithms.winograd_tiling",
        "forks",
        "kernels",
        "problem",
    },
    "planner": {"algorithms", "forks", "kernels.blocking", "kernels.geometry", "problem"},
    "lowering": {"arrays", "problem"},
    "transposition": {"problem"},
    "windows": {"arrays", "problem"},
    "tensors": {"arrays", "forks"},
    "foreign": {"adjoint", "arrays", "autograd", "cuda.engine", "execute", "forks", "shortcuts", "tensors"},
    "autograd": {
        "adjoint",
        "arrays",
        "cuda.engine",
        "execute",
        "forks",
        "input_adjoint",
        "problem",
        "tensors",
        "weight_adjoint",
    },
    "layers": {"arrays", "execute", "problem", "tensors"},
    "input_adjoint": {
        "arrays",
        "execute",
        "forks",
        "interleaving",
        "kernels.arrange",
        "lowering",
        "planner",
        "problem",
        "recipes",
        "runtime",
        "transposition",
    },
    "weight_adjoint": {"arrays", "execute", "lowering", "planner", "problem", "recipes"},
    "interleaving": {"arrays", "executable", "execute", "kernels.geometry", "planner", "problem", "recipes"},
    "recipes": {"arrays", "executable", "kernels.geometry", "runtime"},
    "adjoint": {
        "arrays",
        "execute",
        "input_adjoint",
        "planner",
        "problem",
        "recipes",
        "tensors",
        "transposition",
        "weight_adjoint",
    },
    "store": {"algorithms.prices", "forks", "planner", "problem", "runtime"},
    "tuning": {"arrays", "executable", "execute", "planner", "problem", "store"},
    "calibration": {"algorithms.prices", "execute", "planner", "problem", "runtime", "store", "tuning"},
    "environment": {"__init__", "choosing", "execute", "planner", "problem", "runtime", "shortcuts", "store"},
    "executable": {
        "algorithms",
        "arrays",
        "forks",
        "kernels.blocking",
        "kernels.geometry",
        "kernels.tasks",
        "memory",
        "planner",
        "problem",
        "runtime",
    },
    "shortcuts": {"arrays", "executable", "forks", "kernels.again", "kernels.blocking", "kernels.geometry", "runtime"},
    "execute": {"arrays", "executable", "lowering", "planner", "problem", "shortcuts", "store"},
    "memory": {"arrays"},
    "filtering": {"algorithms", "arrays", "kernels.blocking", "kernels.image_geometry", "runtime"},
    "choosing": {"algorithms", "arrays", "filtering", "runtime"},
    "scipy_rules": {"arrays", "choosing", "forks"},
    **{
        face: {
            "adjoint",
            "arrays",
            "choosing",
            "cuda.engine",
            "cuda.images",
            "execute",
            "foreign",
            "forks",
            "layers",
            "planner",
            "problem",
            "scipy_rules",
            "tensors",
            "windows",
        }
        for face in FACES
    },
    "numba_ext": {*FACES, "forks", "inside"},
    "inside": {
        "algorithms",
        "arrays",
        "choosing",
        "executable",
        "execute",
        "filtering",
        "forks",
        "input_adjoint",
        "inside",
        "interleaving",
        "kernels.arrange",
        "kernels.blocking",
        "kernels.blocks",
        "kernels.geometry",
        "kernels.image_geometry",
        "kernels.image_simd",
        "kernels.tasks",
        "lowering",
        "planner",
        "problem",
        "runtime",
        "scipy_rules",
        "store",
    },
    # The GPU path: a face of its own, what meets the other faces, and beneath it the same way down as the CPU's.
    "cuda": {"functional", "grad", "signal", "tensors", "transposed"},
    "cuda.engine": {
        "adjoint",
        "arrays",
        "cuda.device_arrays",
        "cuda.geometry",
        "cuda.job",
        "cuda.planner",
        "cuda.views",
        "execute",
        "planner",
        "problem",
        "transposition",
        "weight_adjoint",
    },
    "cuda.images": {
        "choosing",
        "cuda.device_arrays",
        "cuda.geometry",
        "cuda.job",
        "cuda.planner",
        "execute",
        "problem",
        "scipy_rules",
    },
    "cuda.planner": {"cuda.algorithms", "cuda.job", "planner"},
    "cuda.algorithms": {
        "algorithms.winograd",
        "cuda.algorithms.gemm",
        "cuda.geometry",
        "cuda.job",
        "cuda.kernels",
        "cuda.packing",
        "cuda.parts",
        "cuda.views",
        "planner",
        "problem",
    },
    "cuda.parts": {"cuda.job", "cuda.kernels", "cuda.packing", "cuda.views"},
    "cuda.packing": {"cuda.geometry", "cuda.job", "cuda.kernels", "cuda.launch", "cuda.views"},
    "cuda.kernels": {
        "cuda.compiling",
        "cuda.fragments",
        "cuda.geometry",
        "cuda.kernels",
        "cuda.macros",
        "cuda.operations",
        "cuda.shim",
        "cuda.transforms",
        "kernels.blocking",
        "kernels.cook_toom",
    },
    "cuda.fragments": {"cuda.macros"},
    "cuda.transforms": {"cuda.macros"},
    "cuda.macros": set(),
    "cuda.device_arrays": {"arrays", "cuda.dlpack", "cuda.launch", "cuda.shim", "cuda.views", "tensors"},
    "cuda.dlpack": set(),
    "cuda.job": {"cuda.geometry", "cuda.launch", "cuda.views", "problem"},
    "cuda.launch": {"cuda.compiling", "cuda.shim", "cuda.views"},
    "cuda.compiling": {"cuda.shim", "runtime"},
    "cuda.operations": {"cuda.intrinsics", "cuda.shim", "cuda.simops"},
    "cuda.intrinsics": {"cuda.emit_llvm", "cuda.emit_mlir", "cuda.shim"},
    "cuda.emit_llvm": set(),
    "cuda.emit_mlir": set(),
    "cuda.shim": set(),
    "cuda.simops": set(),
    "cuda.geometry": set(),
    "cuda.views": set(),
    "digit": {"arrays"},
    "demo": {"__init__", "arrays", "digit"},
    "bench": {"digit", "kernels", "nn", "runtime", "signal"},
    "__main__": {"__init__", "algorithms.prices", "bench", "demo", "calibration", "digit", "runtime", "tuning"},
    "__init__": {*FACES, "environment", "numba_ext", "planner", "problem", "tuning"},
}


def imports(module):
    """Every name that a module imports, anywhere in it, with its module; of this package only the module."""
    package = ["numbaconv", *([] if module == "__init__" else module.split("."))]
    if FILES[module].name != "__init__.py":
        package.pop()
    names = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = [*base, *filter(None, [node.module])]
            names.update(".".join([*source, alias.name]) for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "load_module"
            and isinstance(node.args[0], ast.Constant)
        ):
            name = node.args[0].value
            names.add(f"numbaconv{name}" if name.startswith(".") else name)
    others = {f"Python's {name}" if name in FILES else name for name in names if name.split(".")[0] != "numbaconv"}
    return others | {own_module(name) for name in names if name.split(".")[0] == "numbaconv"}


def own_module(name):
    """The module of this package that a name like numbaconv.problem.ConvProblem is, or is from."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in FILES:
        parts.pop()
    return ".".join(parts) or "__init__"


def within(name, packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def above(module):
    """A module, the package that it is in, and so on. Only the GPU path's modules have arrows of their own."""
    parts = module.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return names if parts[0] == "cuda" else names[-1:]


@pytest.mark.parametrize("module", FILES)
def test_imports_point_one_way(module):
    allowed = ARROWS[next(name for name in above(module) if name in ARROWS)]
    assert {name for name in imports(module) if name in FILES and not within(name, allowed)} == set()


def test_imports_by_name():
    """Some modules import others whose names they put together, where no parser sees them.

    Bench the peers, the GPU path's shim the package that compiles; by way of ``load_module`` the planner a driver, the
    library of functions for compiled code those that are within its package, the runtime Numba's threading layer.
    """
    named = [module for module in FILES if "importlib" in imports(module)]
    assert named == ["bench", "cuda.shim", "forks"]
    loading = [module for module, path in FILES.items() if re.search(r"\bload_module\(f?\"[^\"]*{", path.read_text())]
    assert loading == ["inside.library", "planner", "runtime"]


def test_forks_wait_for_imports():
    """What functions import, they import by way of ``load_module``, but in programs of their own and for GPUs."""
    alone = {"__main__", "bench", "demo", "digit"}
    for module, path in FILES.items():
        if module not in alone and module.split(".")[0] != "cuda":
            functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
            inner = [node for function in functions for node in ast.walk(function)]
            assert not [node.lineno for node in inner if isinstance(node, (ast.Import, ast.ImportFrom))], module


def test_a_problem_is_plain():
    assert {name.split(".")[0] for name in imports("problem")} - sys.stdlib_module_names == {"numpy"}


def test_settings_of_numba_are_in_one_place():
    assert [module for module in FILES if "numba.core.config" in imports(module)] == ["runtime"]


def test_import_compiles_nothing_and_brings_nothing_heavy(run_python):
    program = "import sys, numba; before = set(sys.modules); import numbaconv; print(*set(sys.modules) - before)"
    loaded = run_python(program).split()
    kernels = {name for name in loaded if name.startswith("numbaconv.kernels.")}
    names = ("blocking", "geometry", "image_geometry")
    assert kernels <= {f"numbaconv.kernels.{name}" for name in names}
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == {"numbaconv"}


@pytest.mark.parametrize("module", FILES)
def test_file_length(module):
    lines = FILES[module].read_text().count("\n")
    assert lines <= 500


def public():
    """Everything that a user can call: the package's names, and those of the modules among them."""
    for name in numbaconv.__all__:
        value = getattr(numbaconv, name)
        if inspect.ismodule(value):
            for inner, member in vars(value).items():
                if not inner.startswith("_") and getattr(member, "__module__", None) == value.__name__:
                    yield pytest.param(member, id=f"{name}.{inner}")
        elif callable(value):
            yield pytest.param(value, id=name)


@pytest.mark.parametrize("value", [*public()])
def test_public_names_have_an_example(value):
    assert "Examples\n" in inspect.getdoc(value)
    assert ">>>" in inspect.getdoc(value)


@pytest.mark.parametrize("module", [name for name, path in FILES.items() if ">>> " in path.read_text()])
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(f"numbaconv.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("module", ["intrinsics", "simops"])
def test_intrinsics_have_twins(module):
    """All operations that the GPU's kernels and macros use are there for a GPU and for the simulator."""
    sources = [path.read_text() for name, path in FILES.items() if name.startswith("cuda.")]
    used = {name for source in sources for name in re.findall(r"\bops\.(\w+)", source)}
    assert "fma" in used
    defined = re.findall(r"^ *(?:def )?(\w+)(?:\(| = )", FILES[f"cuda.{module}"].read_text(), re.MULTILINE)
    assert used - set(defined) == set()
