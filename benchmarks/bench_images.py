"""One image, one filter: ``signal.convolve2d`` beside SciPy's, OpenCV's ``filter2D`` and torch's ``conv2d``."""

from __future__ import annotations

from compare_images import DIRECT, OURS, TOLERANCE, contestants, image_case
from ratios import Compared, Roofed, Work, check


class Images(Compared, Roofed):
    """Pictures of the sizes and kernels of ``compare_images.py``; the result is as large as the picture."""

    param_names = ("image",)
    params = (
        [
            "float32 512 3 random",
            "float32 512 9 random",
            "float32 512 31 random",
            "float32 512 31 separable",
            "float64 512 9 random",
            "uint8 512 5 random",
            "float32 1080 3 random",
            "float32 1080 15 random",
        ],
    )

    def prepare(self, problem: str) -> Work:
        import scipy.signal

        dtype, size, taps, kind = problem.split()
        image, kernel = image_case(size, int(taps), kind, dtype)
        calls = contestants(image, kernel, 1)
        expected = scipy.signal.oaconvolve(image.astype("float64"), kernel.astype("float64"), "same")
        check(calls[OURS](), expected, TOLERANCE[kernel.dtype.name])
        flops = 2 * image.size * (kernel.size if kind == "random" else 2 * int(taps))
        moved = image.nbytes + kernel.nbytes + image.size * kernel.itemsize
        names = {"scipy": DIRECT, "opencv": "cv2.filter2D", "torch": "torch.conv2d"}
        peers = {
            library: lambda name=name: (calls[OURS], calls[name]) for library, name in names.items() if name in calls
        }
        return Work(calls[OURS], flops, moved, kernel.dtype.name, peers)

    def track_time_over_opencv(self, _problem: str) -> float:
        return self.over("opencv")
