"""A new process's first result, with nothing compiled before and with everything in the cache; and what is compiled."""

from __future__ import annotations

import pathlib
import tempfile

from start import FIRST_CALLS, TRIVIAL, First, first_call


class FirstCall:
    """Import and first call, in processes of their own."""

    param_names = ("call", "cache")
    params = (list(FIRST_CALLS), ["empty", "filled"])
    timeout = 300

    def setup(self, call: str, cache: str) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.caches = {name: pathlib.Path(self.directory.name) / name.replace(".", "_") for name in (call, TRIVIAL)}
        first_call(TRIVIAL, self.caches[TRIVIAL])
        if cache == "filled":
            first_call(call, self.caches[call])

    def teardown(self, *_parameters: str) -> None:
        self.directory.cleanup()

    def _ask(self, call: str, cache: str) -> First:
        """The best of three processes with a filled cache; of one that fills it."""
        turns = 3 if cache == "filled" else 1
        return min((first_call(call, self.caches[call]) for _ in range(turns)), key=lambda first: first.seconds)

    def track_first_call_seconds(self, call: str, cache: str) -> float:
        return self._ask(call, cache).seconds

    def track_first_call_over_njit(self, call: str, cache: str) -> float:
        """Beside importing Numba and loading a function that adds two numbers from the cache."""
        least = self._ask(TRIVIAL, "filled").seconds
        return self._ask(call, cache).seconds / least

    def track_compiled_functions(self, call: str, cache: str) -> int:
        return self._ask(call, cache).compiled

    track_first_call_seconds.unit = "seconds"  # type: ignore[attr-defined]
    track_first_call_over_njit.unit = "times"  # type: ignore[attr-defined]
    track_compiled_functions.unit = "functions"  # type: ignore[attr-defined]
