"""The command line: ``python -m numbaconv COMMAND``, also installed as ``numbaconv``."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from . import Plan, explain, runtime, show_config, tune, warmup
from .digit import CommandError

#: What argparse makes of the commands' parsers; it has no public name.
Commands = Any


def _add_demo(commands: Commands) -> None:
    """Add ``demo``."""
    parser = commands.add_parser(
        "demo",
        help="the course's first question on a real image, answered by every implementation",
        description="Convolve a 32x32x1 handwritten digit, or your own picture, with eight 3x3 filters, in every way "
        "at hand; compare the results and the times, and draw the feature maps.",
    )
    parser.add_argument("--image", metavar="FILE", type=pathlib.Path, help="your own picture (needs Pillow)")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=pathlib.Path,
        default=pathlib.Path("demo.png"),
        help="where the PNG of the feature maps goes, where matplotlib is installed (default: %(default)s)",
    )
    parser.add_argument("--no-picture", action="store_true", help="draw nothing")
    parser.set_defaults(run=_run_demo)


def _run_demo(given: argparse.Namespace) -> int:
    """Run the demo; its imports are not for the other commands to wait for."""
    from . import demo

    return demo.run(given.image, given.output, not given.no_picture)


def _add_problem(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe a convolution."""
    parser.add_argument("input", type=_numbers, help="shape of the input, such as 1x64x56x56")
    parser.add_argument("weight", type=_numbers, help="shape of the weight, such as 64x64x3x3")
    for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)):
        words = ', or "same" or "valid"' if name == "padding" else ""
        parser.add_argument(
            f"--{name}",
            type=_number_or_word if name == "padding" else _number_or_numbers,
            default=default,
            help=f"one number, or one for each dimension such as 1,2{words} (default: %(default)s)",
        )
    parser.add_argument("--groups", type=int, default=1, help="groups of channels (default: %(default)s)")
    parser.add_argument("--data-format", help="NCHW or NHWC; NCW, NWC, NCDHW or NDHWC in 1 or 3 dimensions")
    parser.add_argument("--precision", default="standard", help="exact, standard or fast (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help="of the arrays (default: %(default)s)")


def _plan(given: argparse.Namespace, algorithm: str = "auto") -> Plan:
    """The plan of the convolution that the arguments describe."""
    try:
        plan: Plan = explain(
            given.input,
            given.weight,
            None,
            given.stride,
            given.padding,
            given.dilation,
            given.groups,
            algorithm=algorithm,
            precision=given.precision,
            data_format=given.data_format,
            dtype=given.dtype,
        )
        return plan
    except (ValueError, TypeError, OverflowError) as error:
        raise CommandError(str(error)) from None


def _add_explain(commands: Commands) -> None:
    """Add ``explain``."""
    parser = commands.add_parser(
        "explain",
        help="how a convolution would be computed, and why",
        description="Print the plan of a convolution: its algorithm, and why each other one was not chosen.",
        epilog="example: numbaconv explain 1x64x56x56 64x64x3x3 --padding 1",
    )
    _add_problem(parser)
    parser.add_argument("--algorithm", default="auto", help="auto, direct, im2col or winograd (default: %(default)s)")
    parser.set_defaults(run=_run_explain)


def _run_explain(given: argparse.Namespace) -> int:
    """Print a plan."""
    print(_plan(given, given.algorithm))
    return 0


def _add_tune(commands: Commands) -> None:
    """Add ``tune``."""
    parser = commands.add_parser(
        "tune",
        help="measure which algorithm is fastest for a convolution, and remember it",
        description="Measure every algorithm for one convolution; from now on algorithm='auto' takes the fastest.",
        epilog="example: numbaconv tune 1x64x56x56 64x64x3x3 --padding 1 --layer",
    )
    _add_problem(parser)
    parser.add_argument("--layer", action="store_true", help="as layers call it: weights are laid out before")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each algorithm (default: %(default)s)")
    parser.set_defaults(run=_run_tune)


def _run_tune(given: argparse.Namespace) -> int:
    """Measure one problem."""
    problem = _plan(given).problem
    try:
        print(tune(problem, precision=given.precision, packed=given.layer, seconds=given.seconds))
    except ValueError as error:
        raise CommandError(str(error)) from None
    return 0


def _add_calibrate(commands: Commands) -> None:
    """Add ``calibrate``."""
    parser = commands.add_parser(
        "calibrate",
        help="fit the cost model to this machine, and remember it",
        description="Time every algorithm on random layers, one thread, and let the planner use what was found.",
    )
    parser.add_argument("--forget", action="store_true", help="go back to the cost model's own figures")
    parser.set_defaults(run=_run_calibrate)


def _run_calibrate(given: argparse.Namespace) -> int:
    """Measure the machine."""
    from . import calibration
    from .algorithms.prices import DEFAULTS

    if given.forget:
        calibration.forget()
        print("The cost model is not calibrated.")
        return 0
    found = calibration.calibrate(lambda done, every: _progress(done, every, "layers"))
    print(f"{found.rate / 1e9:.2f} G vector multiply-adds per second of one core; prices in these, and the usual ones:")
    for name, price in found.prices.items():
        print(f"  {name:18} {price:8.2f} {DEFAULTS[name]:8.2f}")
    return 0


def _add_warmup(commands: Commands) -> None:
    """Add ``warmup``."""
    parser = commands.add_parser(
        "warmup",
        help="compile the usual kernels into the cache",
        description="Compile the usual kernels now, so that later processes read them from the cache.",
    )
    parser.add_argument(
        "--dtype", nargs="+", default=["float32"], help="float32 (default), float64, int16, int32, int64"
    )
    parser.set_defaults(run=_run_warmup)


def _run_warmup(given: argparse.Namespace) -> int:
    """Compile, with a progress bar."""
    start = time.perf_counter()
    try:
        compiled = warmup(given.dtype, _progress)
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from None
    where = runtime.cache_directory()
    print(f"{compiled} functions compiled in {time.perf_counter() - start:.1f} s; cache: {where or 'none'}")
    return 0


def _progress(done: int, every: int, name: str) -> None:
    """A bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        return
    filled = 30 * done // max(1, every)
    end = "\n" if done == every else ""
    print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{every} {name:32.32}", end=end, file=sys.stderr, flush=True)


def _add_config(commands: Commands) -> None:
    """Add ``config``."""
    parser = commands.add_parser(
        "config",
        help="versions, CPU, threads, cache and GPU, for a bug report",
        description="Print what a bug report should say.",
    )
    parser.set_defaults(run=_run_config)


def _run_config(_given: argparse.Namespace) -> int:
    """Print the configuration."""
    show_config()
    return 0


def _add_bench(commands: Commands) -> None:
    """Add ``bench``."""
    parser = commands.add_parser(
        "bench",
        help="time a handful of layers beside what is installed",
        description="Time a handful of layers and images beside SciPy, OpenCV and torch, as far as they are installed.",
    )
    parser.add_argument("--output", metavar="FILE", type=pathlib.Path, default=pathlib.Path("bench.png"),
                        help="where the PNG goes, where matplotlib is installed (default: %(default)s)")  # fmt: skip
    parser.add_argument("--no-picture", action="store_true", help="draw nothing")
    parser.add_argument("--quick", action="store_true", help="two layers, a moment each: its figures are noise")
    parser.set_defaults(run=_run_bench)


def _run_bench(given: argparse.Namespace) -> int:
    """Run the benchmark; its imports are not for the other commands to wait for."""
    from . import bench

    return bench.run(None if given.no_picture else given.output, given.quick)


def _numbers(text: str) -> tuple[int, ...]:
    """Read "1x64x56x56" or "1,64,56,56"."""
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not whole numbers separated by x or commas") from None


def _number_or_numbers(text: str) -> int | tuple[int, ...]:
    """Read "1" or "1,2"."""
    numbers = _numbers(text)
    return numbers if len(numbers) > 1 else numbers[0]


def _number_or_word(text: str) -> int | tuple[int, ...] | str:
    """Read "1", "1,2" or "same"."""
    return text if text.isidentifier() else _number_or_numbers(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; by default those of this process.

    Returns
    -------
    int
        The exit code: 0, 1 where the demo's implementations disagree, 2 where something that the user gave is wrong.
    """
    parser = argparse.ArgumentParser(prog="numbaconv", description="Convolution for NumPy arrays, compiled by Numba.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_add_demo, _add_bench, _add_explain, _add_tune, _add_calibrate, _add_warmup, _add_config):
        add(commands)
    given = parser.parse_args(argv)
    try:
        code: int = given.run(given)
        sys.stdout.flush()
    except CommandError as error:
        print(f"numbaconv {given.command}: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print(f"numbaconv {given.command}: not enough memory for this size", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
