"""Convolution layers: ``torch.nn``'s, on NumPy arrays. Weights are laid out for the kernels once, not at every call."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from .arrays import COMPUTED, Array, as_array
from .execute import Options, convolve
from .problem import integer, per_dimension


class _Conv:
    """What Conv1d, Conv2d and Conv3d share: parameters, their packed forms, and the call."""

    ndim: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        algorithm: str = "auto",
        precision: str = "standard",
        data_format: str | None = None,
        activation: str | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if device is not None and str(device) != "cpu":
            raise ValueError(f"device must be None or 'cpu'; got {device!r}")
        channels, filters = integer("in_channels", in_channels, 1), integer("out_channels", out_channels, 1)
        count = integer("groups", groups, 1)
        if channels % count or filters % count:
            raise ValueError(f"groups {count} must divide in_channels {channels} and out_channels {filters}")
        kernel = per_dimension("kernel_size", kernel_size, self.ndim, 1)
        parameters = np.dtype(np.float32 if dtype is None else dtype)
        if parameters not in COMPUTED:
            raise TypeError(f"parameters must be float32 or float64; dtype is {parameters}")
        bound = 1 / math.sqrt(channels // count * math.prod(kernel))
        generator = np.random.default_rng(rng)
        weight = generator.uniform(-bound, bound, (filters, channels // count, *kernel)).astype(parameters)
        offsets = generator.uniform(-bound, bound, filters).astype(parameters) if bias else None
        self._options = Options(
            stride, padding, dilation, count, algorithm, precision, data_format, padding_mode, activation
        )
        self._assign(weight, offsets)

    def _assign(self, weight: Array, bias: Array | None) -> None:
        """Keep read-only copies of new parameters, and forget how the old ones were laid out."""
        self._weight: Array = weight.copy()
        self._weight.flags.writeable = False
        self._bias: Array | None = None if bias is None else bias.copy()
        if self._bias is not None:
            self._bias.flags.writeable = False
        self._packs: dict[Any, Array] = {}

    @classmethod
    def from_weight(
        cls,
        weight: Any,
        bias: Any = None,
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        algorithm: str = "auto",
        precision: str = "standard",
        data_format: str | None = None,
        activation: str | None = None,
    ) -> Any:
        """Make a layer of given parameters.

        Parameters
        ----------
        weight : array_like, shape (F, C // groups, *kernel)
            Copied.
        bias : array_like, shape (F,), optional
            Copied.
        stride, padding, dilation, groups, padding_mode, algorithm, precision, data_format, activation
            As in :func:`numbaconv.conv2d`.

        Returns
        -------
        A layer of this class.

        Raises
        ------
        ValueError, TypeError
            Where the parameters' shapes do not fit.

        Examples
        --------
        >>> import numpy as np
        >>> import numbaconv as nc
        >>> layer = nc.Conv2d.from_weight(np.ones((8, 1, 3, 3), np.float32), padding="same", activation="relu")
        >>> layer(np.ones((1, 1, 32, 32), np.float32)).shape
        (1, 8, 32, 32)
        """
        weight = as_array("weight", weight)
        if weight.ndim != cls.ndim + 2:
            raise ValueError(f"weight must have {cls.ndim + 2} dimensions for {cls.__name__}; got {weight.shape}")
        layer = cls.__new__(cls)
        count = integer("groups", groups, 1)
        layer._options = Options(
            stride, padding, dilation, count, algorithm, precision, data_format, padding_mode, activation
        )
        layer._assign(weight, layer._checked_bias(weight, bias))
        return layer

    @staticmethod
    def _checked_bias(weight: Array, bias: Any) -> Array | None:
        if bias is None:
            return None
        offsets = as_array("bias", bias)
        if offsets.shape != weight.shape[:1]:
            raise ValueError(f"bias must have shape {weight.shape[:1]}, one value for each filter; got {offsets.shape}")
        return offsets

    @property
    def weight(self) -> Array:
        """The filters, read-only. Assigning copies them."""
        return self._weight

    @weight.setter
    def weight(self, value: Any) -> None:
        weight = as_array("weight", value)
        if weight.shape != self._weight.shape:
            raise ValueError(f"weight must keep its shape {self._weight.shape}; got {weight.shape}")
        self._assign(weight, self._bias)

    @property
    def bias(self) -> Array | None:
        """One value for each filter, read-only, or None. Assigning copies it."""
        return self._bias

    @bias.setter
    def bias(self, value: Any) -> None:
        self._assign(self._weight, self._checked_bias(self._weight, value))

    def __call__(self, input: Any, *, out: Array | None = None) -> Array:
        """Convolve; see :func:`numbaconv.conv2d`."""
        return convolve(self.ndim, input, self._weight, self._bias, self._options, None, out, self._packs)

    def __repr__(self) -> str:
        filters, channels, *kernel = self._weight.shape
        options = [
            f"{name}={value!r}"
            for name, value in self._options._asdict().items()
            if value != Options._field_defaults[name]
        ]
        bias = [] if self._bias is not None else ["bias=False"]
        sizes = f"{channels * self._options.groups}, {filters}, kernel_size={tuple(kernel)}"
        return f"{type(self).__name__}({', '.join([sizes, *options, *bias])})"


class Conv1d(_Conv):
    """A convolution of sequences; a drop-in for :class:`torch.nn.Conv1d` in inference. See :class:`Conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.nn.Conv1d(2, 4, 3, rng=0)(np.ones((1, 2, 10), np.float32)).shape
    (1, 4, 8)
    """

    ndim = 1


class Conv2d(_Conv):
    """A convolution of images; a drop-in for :class:`torch.nn.Conv2d` in inference.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    kernel_size : int or sequence of int
        Height and width of the filters.
    stride, padding, dilation, groups, padding_mode
        As in :func:`numbaconv.conv2d`.
    bias : bool
        Whether outputs get a bias.
    device : None or "cpu"
        Accepted for torch's sake.
    dtype : dtype
        Of the parameters; float32 by default.
    algorithm, precision, data_format, activation
        As in :func:`numbaconv.conv2d`.
    rng : numpy.random.Generator or seed, optional
        Draws the initial parameters, uniform in +-1 / sqrt(channels of a group * kernel cells), as torch does.

    Attributes
    ----------
    weight : ndarray, shape (out_channels, in_channels // groups, KH, KW)
        Read-only; assigning copies it. The layer lays it out for its kernels at the first call that needs it.
    bias : ndarray, shape (out_channels,), or None
        Read-only; assigning copies it.

    Raises
    ------
    ValueError, TypeError
        Where sizes do not fit.

    References
    ----------
    Replaces ``torch.nn.Conv2d``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> layer = nc.nn.Conv2d(3, 16, 3, stride=2, padding=1, rng=0)
    >>> layer(np.ones((1, 3, 32, 32), np.float32)).shape
    (1, 16, 16, 16)
    """

    ndim = 2


class Conv3d(_Conv):
    """A convolution of volumes; a drop-in for :class:`torch.nn.Conv3d` in inference. See :class:`Conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.nn.Conv3d(2, 4, 3, rng=0)(np.ones((1, 2, 5, 6, 7), np.float32)).shape
    (1, 4, 3, 4, 5)
    """

    ndim = 3
