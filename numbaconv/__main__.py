"""The command line: ``python -m numbaconv COMMAND``, also installed as ``numbaconv``."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from . import explain
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


def _add_explain(commands: Commands) -> None:
    """Add ``explain``."""
    parser = commands.add_parser(
        "explain",
        help="how a convolution would be computed, and why",
        description="Print the plan of a float32 convolution: its algorithm, and why each other one was not chosen.",
        epilog="example: numbaconv explain 1,64,56,56 64,64,3,3 --padding 1",
    )
    parser.add_argument("input", type=_numbers, help="shape of the input, such as 1,64,56,56")
    parser.add_argument("weight", type=_numbers, help="shape of the weight, such as 64,64,3,3")
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
    parser.add_argument("--algorithm", default="auto", help="auto, direct, im2col or winograd (default: %(default)s)")
    parser.set_defaults(run=_run_explain)


def _run_explain(given: argparse.Namespace) -> int:
    """Print a plan."""
    try:
        plan = explain(
            given.input,
            given.weight,
            None,
            given.stride,
            given.padding,
            given.dilation,
            given.groups,
            algorithm=given.algorithm,
            data_format=given.data_format,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise CommandError(str(error)) from None
    print(plan)
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    """Read "1,64,56,56"."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not whole numbers separated by commas") from None


def _number_or_numbers(text: str) -> int | tuple[int, ...]:
    """Read "1" or "1,2"."""
    numbers = _numbers(text)
    return numbers if "," in text else numbers[0]


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
    for add in (_add_demo, _add_explain):
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
