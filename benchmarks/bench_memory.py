"""Memory: the peak of a process, to be read beside that of one that only imports, and what a call takes by itself."""

from __future__ import annotations

from extras import MEMORY_LAYERS, memory_of
from peers import OURS_LAYER, OURS_PLAIN, Settings, make_arrays
from ratios import contestant
from suites import Layer

LAYERS = {f"{layer}": layer for layer in MEMORY_LAYERS}
CONTESTANTS = (OURS_PLAIN, OURS_LAYER)


class Reference:
    """What the process takes before it computes anything: these benchmarks' own imports, Numba among them."""

    def peakmem_interpreter(self) -> None:
        pass


class Memory:
    param_names = ("layer",)
    params = (list(LAYERS),)
    timeout = 300

    def setup(self, problem: str) -> None:
        self.arrays = make_arrays(LAYERS[problem], "float32")
        self.call = contestant(OURS_PLAIN, LAYERS[problem], self.arrays).call

    def peakmem_call(self, _problem: str) -> None:
        """Input, weights, output, everything compiled, and what the call itself takes."""
        self.call()


class Workspace:
    """Measured from where the input exists; everything is compiled before."""

    param_names = ("layer", "call")
    params = (list(LAYERS), list(CONTESTANTS))
    timeout = 300
    unit = "percent"

    def track_beyond_input_and_output(self, problem: str, call: str) -> float:
        """What a call takes beside its input and output, in percent of these."""
        layer: Layer = LAYERS[problem]
        return 100 * float(memory_of(call, layer, Settings())["share"])
