"""One dimension: ``signal.convolve`` beside SciPy's own choice, ``conv1d`` beside torch's."""

from __future__ import annotations

import numpy as np
from compare_images import OURS, normal, sequence_contestants
from family import FAMILY, Task
from ratios import Call, Compared, Roofed, Work, check, unfolded_sums
from timing import TOLERANCES

#: ``conv1d`` of ``family.py`` by what its sizes are called there.
LAYERS = {
    f"{name}: {'x'.join(map(str, shape))}": next(
        task
        for task in FAMILY["conv1d"]
        if (task.name, task.input, task.keywords.get("dilation", 1)) == (name, shape, d)
    )
    for name, shape, d in (
        ("wavenet", (1, 64, 16000), 16),
        ("wav2vec first", (1, 1, 16000), 1),
        ("wav2vec", (1, 512, 399), 1),
        ("whisper", (1, 384, 3000), 1),
    )
}
SEQUENCES = {
    f"convolve: {length} by {taps} {dtype}": (length, taps, dtype)
    for length, taps, dtype in (
        (1_000, 31, "float32"),
        (1_000_000, 31, "float32"),
        (1_000_000, 31, "float64"),
        (100_000, 1001, "float32"),
    )
}


class Sequences(Compared, Roofed):
    """Signals by a filter, and layers of networks that listen."""

    param_names = ("sequence",)
    params = ([*SEQUENCES, *LAYERS],)

    def prepare(self, problem: str) -> Work:
        return self._convolve(*SEQUENCES[problem]) if problem in SEQUENCES else self._layer(LAYERS[problem])

    def _convolve(self, length: int, taps: int, dtype: str) -> Work:
        random = np.random.default_rng(0)
        sequence, kernel = normal(random, (length,), dtype), normal(random, (taps,), dtype)
        ours, theirs = sequence_contestants(sequence, kernel).values()
        expected = np.convolve(sequence.astype(np.float64), kernel.astype(np.float64))
        check(ours(), expected, TOLERANCES[dtype][0])
        moved = 2 * sequence.nbytes + kernel.nbytes
        return Work(ours, 2 * length * taps, moved, dtype, {"scipy": lambda: (ours, theirs)})

    def _layer(self, task: Task) -> Work:
        x, weight = task.arrays()
        ours = task.call(OURS, [x, weight])
        stride, padding, dilation = (
            task.keywords.get(name, least) for name, least in (("stride", 1), ("padding", 0), ("dilation", 1))
        )
        theirs = unfolded_sums(x, weight, (stride,), (padding,), (dilation,), 1)
        out = ours()
        check(
            out,
            unfolded_sums(x.astype(float), weight.astype(float), (stride,), (padding,), (dilation,), 1)(),
            TOLERANCES["float32"][0],
        )

        def with_torch() -> tuple[Call, Call]:
            import torch

            return ours, task.call("torch", [torch.from_numpy(array) for array in (x, weight)])

        flops = 2 * out.size * weight[0].size
        return Work(
            ours, flops, x.nbytes + weight.nbytes + out.nbytes,
            peers={"scipy": lambda: (ours, theirs), "torch": with_torch},
        )  # fmt: skip
