"""How kernels are compiled: as fragments for one another, as a whole where they are called, in the fewest steps."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, Final

import llvmlite.binding as llvm
import numba
from numba.core import codegen, compiler, registry, targetconfig
from numba.core.datamodel import models
from numba.core.imputils import lower_constant

types: Any = numba.types

#: Types of which operators know all there is to know: neither functions nor what is compiled for each use.
_SIMPLE: Final = (types.Number, types.Boolean, types.Literal, types.Array, types.CPointer)
#: What :func:`operators_remembered` has found.
_operators: Final[dict[Any, Any]] = {}


@contextlib.contextmanager
def operators_remembered() -> Iterator[None]:
    """Ask Numba only once what an operator or a builtin function makes of numbers and arrays.

    It tries dozens of templates each time, with all compiler options as part of a key, to find the type of each of two
    thousand operators of seventy kinds in a small kernel, and again to write its code: a fifth of a first call.
    """
    if "get_call_type" in vars(types.Function):  # within another compilation
        yield
        return
    ask = types.Function.get_call_type

    def remembered(kind: Any, context: Any, arguments: Any, keywords: Any) -> Any:
        if type(kind) is not types.Function or keywords or not all(isinstance(item, _SIMPLE) for item in arguments):
            return ask(kind, context, arguments, keywords)
        options = targetconfig.ConfigStack.top_or_none()
        key = kind, arguments, "" if options is None else str(options._values)  # not all of them can be hashed
        found = _operators.get(key)
        if found is None:
            found = _operators[key] = ask(kind, context, arguments, keywords)
        return found

    types.Function.get_call_type = remembered
    try:
        yield
    finally:
        del types.Function.get_call_type


class Fragment(codegen.JITCodeLibrary):
    """The code of a kernel as other kernels take it in: as Numba writes it, neither optimised nor made machine code.

    Numba would do both for each function, with all that it calls, and so once more for each level of calls: that took
    three quarters of the time of a first call (19 s, with calls by address 4.5 s now; 2-core AMD EPYC, Zen 4). A kernel
    that is called from Python, or by its address, is optimised as a whole.
    """

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self._own: list[str] = []

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout
        for function in module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.external:
                self._own.append(function.name)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        # What takes it in may inline its functions and leave them out; Numba would say so in a copy.
        for name in self._own:
            self._final_module.get_function(name).linkage = "linkonce_odr"
        self._shared_module = self._final_module
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        """None: there is no machine code."""
        return 0

    @property
    def codegen(self) -> Any:
        """What Numba would ask for the function's machine code."""
        return self

    def set_env(self, _name: str, _environment: Any) -> None:
        """Numba's codegen would look for a variable in the machine code, of which there is none."""


#: LLVM's level, whatever NUMBA_OPT says. Numba's 3 takes 1.1 to 1.25 times as long, and layers are no faster (Emerald
#: Rapids).
OPTIMISED: Final = 2


class Whole(codegen.JITCodeLibrary):
    """The code of a kernel with all that it takes in, which is optimised once.

    Numba would do so three times: each function alone, then cheaply, so that reference counts can be removed.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        manager, builder = self._codegen._module_pass_manager(opt=OPTIMISED)
        manager.run(self._final_module, builder)


#: Numba's passes for what kernels have none of: closures, literals to specialise for, functions to be inlined as they
#: are written, exceptions. They took a twentieth of a first call.
_SKIPPED: Final = {
    "ir_processing", "with_lifting", "inline_closure_likes", "make_function_op_code_to_jit_function",
    "inline_inlinables", "find_literally", "literal_unroll", "LiteralPropagation", "inline_overloads",
    "nopython_supported_feature_validation", "dump_parfor_diagnostics",
}  # fmt: skip


@functools.cache
def _size(kind: Any) -> int:
    """Bytes of a type of LLVM's, for which Numba would ask it anew for each variable: a fiftieth of a first call."""
    return int(kind.get_abi_size(registry.cpu_target.target_context.target_data))


class KernelCompiler(compiler.Compiler):
    """Compiles a serial kernel in the fewest steps, and other functions as Numba does."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.state.targetctx.get_abi_sizeof = _size

    def define_pipelines(self) -> list[Any]:
        """Numba's passes, those left out that kernels do not need."""
        if not self.state.flags.no_rewrites:
            return list(super().define_pipelines())
        if self.state.library is None:
            self.state.library = Whole(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
            self.state.library.enable_object_caching()
        [every] = super().define_pipelines()
        needed = compiler.PassManager(every.pipeline_name)
        needed.passes = [item for item in every.passes if item[0]._name not in _SKIPPED]
        needed.finalize()
        return [needed]


class FragmentCompiler(KernelCompiler):
    """Compiles a fragment."""

    def __init__(self, typing_context: Any, target_context: Any, _library: Any, *rest: Any) -> None:
        library = Fragment(target_context.codegen(), "fragment")
        super().__init__(typing_context, target_context, library, *rest)


class FragmentDispatcher(registry.CPUDispatcher):
    """A kernel as other kernels call it."""

    def get_call_template(self, arguments: Any, keywords: Any) -> Any:
        """What Numba calls, compiled if need be."""
        # Whether an index is a literal, or what prange counts with, is no reason to compile a function again.
        return super().get_call_template(tuple(map(_plain, arguments)), keywords)


class FragmentType(types.Dispatcher):
    """A fragment that is given to another one as an argument, which calls it: nothing is passed when that runs."""

    def __init__(self, fragment: Any) -> None:
        super().__init__(fragment)
        self.name = f"fragment({fragment.py_func.__module__}.{fragment.py_func.__name__})"  # it is part of symbols


models.register_default(FragmentType)(models.OpaqueModel)


@lower_constant(FragmentType)  # type: ignore[untyped-decorator]
def _nothing(context: Any, _builder: Any, _kind: Any, _function: Any) -> Any:
    return context.get_dummy_value()


def _plain(kind: Any) -> Any:
    """A Numba type without the values of literals, and without unsigned indices."""
    kind = types.unliteral(kind)
    if isinstance(kind, types.BaseTuple):
        return types.BaseTuple.from_types(tuple(map(_plain, kind.types)))
    return types.int64 if kind == types.uint64 else kind
