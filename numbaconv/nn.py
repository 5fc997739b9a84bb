"""Convolution layers: ``torch.nn``'s, on arrays. Weights are laid out for the kernels once, not at every call."""

from __future__ import annotations

from typing import Any

import numpy as np

from .adjoint import transposed_size
from .execute import Options
from .foreign import conv_transpose, convolve
from .layers import Layer
from .problem import per_dimension


class _Conv(Layer):
    """What Conv1d, Conv2d and Conv3d share."""

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
        options = Options(
            stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation
        )
        self._initialise((in_channels, out_channels, kernel_size), options, bias, device, dtype, rng)

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
        options = Options(
            stride, padding, dilation, groups, algorithm, precision, data_format, padding_mode, activation
        )
        return cls._of(weight, bias, options)

    def __call__(self, input: Any, *, out: Any = None) -> Any:
        """Convolve; see :func:`numbaconv.conv2d`."""
        weight, bias, packs = self._parameters
        return convolve(self.ndim, input, weight, bias, self._options, None, out, packs)


class _ConvTranspose(Layer):
    """What ConvTranspose1d, ConvTranspose2d and ConvTranspose3d share."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
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
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros' for {type(self).__name__}; got {padding_mode!r}")
        options = Options(stride, padding, dilation, groups, algorithm, precision, data_format, "zeros", activation)
        self._initialise((in_channels, out_channels, kernel_size), options, bias, device, dtype, rng)
        self._output_padding = output_padding

    @classmethod
    def from_weight(
        cls,
        weight: Any,
        bias: Any = None,
        *,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
        algorithm: str = "auto",
        precision: str = "standard",
        data_format: str | None = None,
        activation: str | None = None,
    ) -> Any:
        """Make a layer of given parameters.

        Parameters
        ----------
        weight : array_like, shape (C, F // groups, *kernel)
            Copied.
        bias : array_like, shape (F,), optional
            Copied.
        stride, padding, output_padding, groups, dilation, algorithm, precision, data_format, activation
            As in :func:`numbaconv.conv_transpose2d`.

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
        >>> layer = nc.nn.ConvTranspose2d.from_weight(np.ones((4, 2, 2, 2), np.float32), stride=2)
        >>> layer(np.ones((1, 4, 8, 8), np.float32)).shape
        (1, 2, 16, 16)
        """
        options = Options(stride, padding, dilation, groups, algorithm, precision, data_format, "zeros", activation)
        layer = cls._of(weight, bias, options)
        layer._output_padding = output_padding
        return layer

    def __call__(self, input: Any, output_size: Any = None, *, out: Any = None) -> Any:
        """Spread; see :func:`numbaconv.conv_transpose2d`. ``output_size`` takes the place of ``output_padding``."""
        extra = self._output_padding if output_size is None else self._padding_for(input, output_size)
        weight, bias, packs = self._parameters
        return conv_transpose(self.ndim, input, weight, bias, self._options, extra, None, out, packs)

    def _padding_for(self, input: Any, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives an output of this spatial size."""
        smallest = transposed_size(self.ndim, input, self.weight, self._options)
        wanted = per_dimension("output_size", output_size, self.ndim, 1)
        strides = per_dimension("stride", self._options.stride, self.ndim, 1)
        for size, least, stride in zip(wanted, smallest, strides, strict=True):
            if not least <= size < least + stride:
                largest = tuple(n + s - 1 for n, s in zip(smallest, strides, strict=True))
                raise ValueError(f"output_size must lie between {smallest} and {largest}; got {wanted}")
        return tuple(size - least for size, least in zip(wanted, smallest, strict=True))


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


class ConvTranspose1d(_ConvTranspose):
    """A transposed convolution of sequences; replaces :class:`torch.nn.ConvTranspose1d`. See :class:`ConvTranspose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.nn.ConvTranspose1d(2, 4, 3, stride=2, rng=0)(np.ones((1, 2, 10), np.float32)).shape
    (1, 4, 21)
    """

    ndim = 1


class ConvTranspose2d(_ConvTranspose):
    """A transposed convolution of images; a drop-in for :class:`torch.nn.ConvTranspose2d` in inference.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    kernel_size : int or sequence of int
        Height and width of the filters.
    stride, padding, output_padding, groups, dilation, padding_mode
        As in :func:`numbaconv.conv_transpose2d`.
    bias, device, dtype, algorithm, precision, data_format, activation, rng
        As in :class:`Conv2d`.

    Attributes
    ----------
    weight : ndarray, shape (in_channels, out_channels // groups, KH, KW)
        Read-only; assigning copies it.
    bias : ndarray, shape (out_channels,), or None
        Read-only; assigning copies it.

    Raises
    ------
    ValueError, TypeError
        Where sizes do not fit.

    References
    ----------
    Replaces ``torch.nn.ConvTranspose2d``.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> layer = nc.nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1, rng=0)
    >>> layer(np.ones((1, 16, 8, 8), np.float32)).shape
    (1, 3, 16, 16)
    >>> nc.nn.ConvTranspose2d(1, 1, 3, stride=2, rng=0)(np.ones((1, 1, 8, 8), np.float32), (18, 17)).shape
    (1, 1, 18, 17)
    """

    ndim = 2


class ConvTranspose3d(_ConvTranspose):
    """A transposed convolution of volumes; replaces :class:`torch.nn.ConvTranspose3d`. See :class:`ConvTranspose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.nn.ConvTranspose3d(2, 4, 2, stride=2, rng=0)(np.ones((1, 2, 3, 4, 5), np.float32)).shape
    (1, 4, 6, 8, 10)
    """

    ndim = 3
