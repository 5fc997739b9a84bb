"""What all layers share: parameters, how they are kept, loaded, copied and printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .arrays import Array, parameter_dtype
from .execute import Options
from .problem import PADDING_MODES, integer, per_dimension
from .tensors import to_array


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(..., strict=False)`` did not find, and what it did not use.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaconv as nc
    >>> nc.nn.Conv1d(1, 1, 3).load_state_dict({"weight": np.ones((1, 1, 3))}, strict=False).missing_keys
    ['bias']
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


class Layer:
    """What all layers share: parameters, and the forms in which they are kept."""

    ndim: ClassVar[int]
    #: How torch's weight begins: with the output channels, or the input's.
    transposed: ClassVar[bool] = False

    _options: Options
    _output_padding: Any = 0

    def _initialise(
        self, sizes: tuple[Any, Any, Any], options: Options, bias: bool, device: Any, dtype: Any, rng: Any
    ) -> None:
        """Check what a constructor was given, and draw the parameters."""
        if device is not None and str(device) != "cpu":
            raise ValueError(f"device must be None or 'cpu'; got {device!r}")
        channels, filters = integer("in_channels", sizes[0], 1), integer("out_channels", sizes[1], 1)
        count = integer("groups", options.groups, 1)
        if channels % count or filters % count:
            raise ValueError(f"groups {count} must divide in_channels {channels} and out_channels {filters}")
        kernel = per_dimension("kernel_size", sizes[2], self.ndim, 1)
        if not isinstance(options.padding_mode, str) or options.padding_mode not in PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {', '.join(map(repr, PADDING_MODES))}; got {options.padding_mode!r}"
            )
        parameters = parameter_dtype(np.float32 if dtype is None else dtype)
        first, second = (channels, filters // count) if self.transposed else (filters, channels // count)
        bound = 1 / math.sqrt(second * math.prod(kernel))
        generator = np.random.default_rng(rng)
        weight = generator.uniform(-bound, bound, (first, second, *kernel)).astype(parameters)
        offsets = generator.uniform(-bound, bound, filters).astype(parameters) if bias else None
        self._options = options._replace(groups=count)
        self._assign(weight, offsets)

    def _assign(self, weight: Array, bias: Array | None) -> None:
        """Keep read-only copies of new parameters, and forget how the old ones were laid out.

        They are one object, which a call reads once: a thread that calls the layer while another one assigns would lay
        out the old weights in the place of the new ones.
        """
        weight = np.array(weight, copy=True, order="C", subok=False)
        weight.flags.writeable = False
        bias = None if bias is None else np.array(bias, copy=True, subok=False)
        if bias is not None:
            bias.flags.writeable = False
        #: The weight, the bias, and how calls have laid them out.
        self._parameters: tuple[Array, Array | None, dict[Any, Any]] = (weight, bias, {})

    @classmethod
    def _of(cls, weight: Any, bias: Any, options: Options) -> Any:
        """A layer of given parameters."""
        weight = to_array("weight", weight)
        if weight.ndim != cls.ndim + 2:
            raise ValueError(f"weight must have {cls.ndim + 2} dimensions for {cls.__name__}; got {weight.shape}")
        layer = cls.__new__(cls)
        layer._options = options._replace(groups=integer("groups", options.groups, 1))
        layer._assign(weight, layer._checked_bias(weight, bias))
        return layer

    def _channels(self, weight: Array) -> tuple[int, int]:
        """How many channels input and output have."""
        first, second = weight.shape[:2]
        return (first, second * self._options.groups) if self.transposed else (second * self._options.groups, first)

    def _checked_bias(self, weight: Array, bias: Any) -> Array | None:
        if bias is None:
            return None
        offsets, filters = to_array("bias", bias), self._channels(weight)[1]
        if offsets.shape != (filters,):
            raise ValueError(f"bias must have shape ({filters},), one value for each filter; got {offsets.shape}")
        return offsets

    def __getstate__(self) -> dict[str, Any]:
        """Packed weights are not part of a copy: another machine lays them out differently."""
        return {**self.__dict__, "_parameters": (*self._parameters[:2], {})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._assign(*self._parameters[:2])  # NumPy's pickles forget what is read-only

    @property
    def weight(self) -> Array:
        """The filters, read-only. Assigning copies them."""
        return self._parameters[0]

    @weight.setter
    def weight(self, value: Any) -> None:
        weight = to_array("weight", value)
        if weight.shape != self.weight.shape:
            raise ValueError(f"weight must keep its shape {self.weight.shape}; got {weight.shape}")
        self._assign(weight, self.bias)

    @property
    def bias(self) -> Array | None:
        """One value for each filter, read-only, or None. Assigning copies it."""
        return self._parameters[1]

    @bias.setter
    def bias(self, value: Any) -> None:
        self._assign(self.weight, self._checked_bias(self.weight, value))

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters by their names, as torch's layers name them."""
        weight, bias, _ = self._parameters
        state = {"weight": weight.copy()}
        if bias is not None:
            state["bias"] = bias.copy()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take parameters over from arrays or torch tensors, in this layer's shapes and dtype.

        Parameters
        ----------
        state_dict : mapping of str to array
            "weight" and, where the layer has one, "bias".
        strict : bool
            Whether the names must be exactly those.

        Returns
        -------
        IncompatibleKeys

        Raises
        ------
        ValueError
            Where names or shapes do not fit; the layer is as it was then.
        TypeError
            Where a value is no array, or its dtype cannot be cast to the parameter's.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict must map names to arrays; got {type(state_dict).__name__}")
        weight, bias, _ = self._parameters
        current = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        missing = [name for name in current if name not in state_dict]
        unexpected = [name for name in state_dict if name not in current]
        if strict and (missing or unexpected):
            raise ValueError(
                f"state_dict must have exactly the names {list(current)}; missing: {missing}, unexpected: {unexpected}"
            )
        loaded = {}
        for name, parameter in current.items():
            value = parameter if name in missing else to_array(name, state_dict[name])
            if value.shape != parameter.shape:
                raise ValueError(f"{name} must have shape {parameter.shape}; got {value.shape}")
            if not np.can_cast(value.dtype, parameter.dtype, "same_kind"):
                raise TypeError(f"{name} of dtype {value.dtype} cannot be cast to the parameter's {parameter.dtype}")
            loaded[name] = value.astype(parameter.dtype)
        self._assign(loaded["weight"], loaded.get("bias"))
        return IncompatibleKeys(missing, unexpected)

    def __repr__(self) -> str:
        options = {
            name: value for name, value in self._options._asdict().items() if value != Options._field_defaults[name]
        }
        if self._output_padding != 0:
            options["output_padding"] = self._output_padding
        weight, bias, _ = self._parameters
        if bias is None:
            options["bias"] = False
        channels, filters = self._channels(weight)
        words = [f"{channels}, {filters}, kernel_size={weight.shape[2:]}"]
        words += [f"{name}={value!r}" for name, value in options.items()]
        return f"{type(self).__name__}({', '.join(words)})"
