"""How kernels are compiled: as fragments for one another, as a whole where they are called, in the fewest steps."""

from __future__ import annotations

import contextlib
import functools
import gc
import signal
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import cgutils, compiler, funcdesc, registry, targetconfig
from numba.core.codegen import CPUCodeLibrary, JITCodeLibrary
from numba.core.compiler_machinery import register_pass
from numba.core.datamodel import models
from numba.core.imputils import lower_constant
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

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


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait, whose handlers the main thread runs.

    An exception of theirs, such as KeyboardInterrupt, in a function that LLVM calls as it loads code ends the program.
    """
    replaced: dict[int, Any] = {}
    held: list[tuple[int, Any]] = []
    try:
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if callable(handler):
                replaced[number] = handler
                signal.signal(number, lambda number, frame: held.append((number, frame)))
    except ValueError:  # only Python's main thread may do so, and runs handlers; the first attempt says it
        replaced = {}
    raised: BaseException | None = None
    try:
        yield
    finally:
        left = list(replaced.items())
        while left:
            try:
                while left:
                    signal.signal(*left[-1])
                    left.pop()
            except BaseException as error:  # of a handler that is back; the others have to be put back, too
                raised = error
        for sent, frame in held:
            try:
                replaced[sent](sent, frame)
            except BaseException as error:  # the others have to be called, too
                raised = error
        if raised is not None:
            raise raised


#: LLVM's level, whatever NUMBA_OPT says. Numba's 3 takes 1.1 to 1.25 times as long, and layers are no faster (Emerald
#: Rapids).
OPTIMISED: Final = 2


#: Of each name whether the text defines it.
_Texts = dict[str, tuple[bool, str]]


class _Module(ir.Module):
    """Where Numba writes a kernel. The texts of several make one: metadata, which has numbers, they have in common."""

    _metadata: Final[list[Any]] = []
    _known: Final[dict[Any, Any]] = {}

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.metadata, self._metadatacache = self._metadata, self._known

    def texts(self) -> _Texts:
        """Whether each function or variable is defined here, and its text."""
        return {
            name: (getattr(value, "initializer", None) is not None or bool(getattr(value, "blocks", ())), str(value))
            for name, value in self.globals.items()
        }


class _Library(JITCodeLibrary):
    """The code of a kernel as Numba writes it, and what it takes in: text, for which LLVM is not asked."""

    def __init__(self, codegen: Any, name: str) -> None:
        super(CPUCodeLibrary, self).__init__(codegen, name)
        self._linking_libraries: list[Any] = []
        self._texts: _Texts = {}
        self._final_module = self._shared_module = None

    def create_ir_module(self, name: str) -> Any:
        """Where Numba writes a function."""
        return _Module(cgutils.normalize_ir_text(name))

    def add_ir_module(self, module: Any) -> None:
        """Keep what Numba has written."""
        _add([self._texts], module.texts())

    def add_linking_library(self, library: Any) -> None:
        """Take another one in, or call it: it need not be machine code before this is."""
        if not isinstance(library, _Library):
            library._ensure_finalized()
        self._linking_libraries.append(library)

    def _linked(self, pieces: bool) -> Any:
        """One module of LLVM's of all this, with the pieces or without."""
        parts: list[_Texts] = []
        others = []
        for library in _taken_in(self):
            if not isinstance(library, _Library):
                others.append(library)
            elif pieces or library is self or not isinstance(library, Piece):
                _add(parts, library._texts)
        module = llvm.parse_assembly(_text(parts[0]))
        for part in parts[1:]:
            module.link_in(llvm.parse_assembly(_text(part)))
        for library in others:
            module.link_in(library._get_module_for_linking(), preserve=True)
        module.name = cgutils.normalize_ir_text(self.name)
        module.triple = self._codegen._llvm_module.triple
        module.data_layout = self._codegen._data_layout
        module.verify()
        return module


def _add(parts: list[_Texts], more: _Texts) -> None:
    """Add texts to the first part that does not define the same names otherwise, as it may with constants."""
    for part in parts:
        defined = {name: text for name, text in more.items() if text[0] and name in part and part[name][0]}
        if all(part[name] == text for name, text in defined.items()):
            part.update({name: text for name, text in more.items() if text[0] or name not in part})
            return
    parts.append(dict(more))


def _text(part: _Texts) -> str:
    """Functions and variables, with what all of them have in common, as LLVM reads them."""
    lines = [kind.get_declaration() for kind in ir.global_context.identified_types.values()]
    lines += [text for _, text in part.values()]
    lines += map(str, _Module._metadata)
    return str(cgutils.normalize_ir_text("\n".join(lines)))


def _taken_in(library: Any) -> dict[Any, None]:
    """A library and all that it takes in, each once."""
    found: dict[Any, None] = {}
    pending = [library]
    while pending:
        library = pending.pop()
        if library not in found:
            found[library] = None
            pending += reversed(library._linking_libraries) if isinstance(library, _Library) else []
    return found


class Fragment(_Library):
    """The code of a kernel as other kernels take it in: as Numba writes it, neither optimised nor made machine code.

    Numba would do both for each function, with all that it calls, and so once more for each level of calls: that took
    three quarters of the time of a first call (19 s, with calls by address 4.5 s now; 2-core AMD EPYC, Zen 4). A kernel
    that is called from Python, or by its address, is optimised as a whole.
    """

    def add_ir_module(self, module: Any) -> None:
        """Keep functions that what takes them in may inline, and leave out."""
        for function in module.functions:
            if not function.is_declaration and not function.linkage:
                function.linkage = "linkonce_odr"
        super().add_ir_module(module)

    def finalize(self) -> None:
        """Nothing is added any more."""
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """What a function that is compiled as Numba does takes in."""
        if self._shared_module is None:
            self._shared_module = self._linked(pieces=True)
        return self._shared_module


class Whole(_Library):
    """The code of a kernel with all that it takes in, which is optimised once, in a thread of its own.

    Numba would do so three times: each function alone, then cheaply, so that reference counts can be removed. LLVM
    works without the GIL, on text alone, so that Python writes the next kernel meanwhile.
    """

    #: The last thread that was started.
    _latest: threading.Thread | None = None

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.enable_object_caching()
        self._made: list[Any] = []
        self._maker = threading.Thread(target=self._try)

    def begin(self) -> None:
        """Let LLVM make machine code; nothing is added any more."""
        with contextlib.suppress(RuntimeError):  # no thread is to be had: finalize does it
            self._maker.start()
            Whole._latest = self._maker

    def _try(self) -> None:
        with contextlib.suppress(Exception):  # finalize will meet it again
            self._make()

    def _make(self) -> None:
        module = self._linked(pieces=False)
        manager, builder = self._codegen._module_pass_manager(opt=OPTIMISED)
        manager.run(module, builder)
        self._made = [module, self._codegen._tm.emit_object(module)]

    def pieces(self) -> list[Any]:
        """What must be loaded before this is."""
        return [library for library in _taken_in(self) if isinstance(library, Piece) and library is not self]

    def finalize(self) -> None:
        """Load the machine code."""
        for piece in self.pieces():
            piece._ensure_finalized()
        if self._maker.ident is None:
            self.begin()
        if Whole._latest is not None and Whole._latest.is_alive():
            Whole._latest = None
            gc.collect(0)  # Python has to look at what was made at some time: here it has nothing else to do
        if self._maker.ident is not None:
            self._maker.join()
        if not self._made:  # for want of a thread, which may have been left in the process that this was forked from
            self._make()
        self._final_module, self._compiled_object = self._made
        self._finalize_final_module()

    def _get_compiled_object(self) -> Any:
        """The machine code, to be kept."""
        self._ensure_finalized()
        return self._made[1]

    def _get_module_for_linking(self) -> Any:
        """What is kept beside the machine code: the names that it defines. Nothing takes a whole in."""
        self._ensure_finalized()
        names = [f'define void @"{item.name}"() {{ ret void }}' for item in self.get_defined_functions()]
        return llvm.parse_assembly("\n".join(names))


class Piece(Whole):
    """A part of large kernels whose machine code they call, so that LLVM makes it before they are written.

    It is kept with the code of each: Numba calls it before it loads that.
    """

    def __reduce__(self) -> Any:
        return _Loaded, (self.serialize_using_object_code(),)


class _Loaded(NamedTuple):
    """A piece that a cached kernel calls."""

    code: Any

    def __call__(self) -> None:
        """Load it, unless another kernel that calls it has been loaded."""
        if self.code[0] not in _loaded:
            _loaded[self.code[0]] = registry.cpu_target.target_context.codegen().unserialize_library(self.code)


_loaded: Final[dict[str, Any]] = {}


#: Numba's passes for what kernels have none of: closures, literals to specialise for, functions to be inlined as they
#: are written, exceptions; variables whose memory is given back. They took a tenth of a first call.
_SKIPPED: Final = {
    "ir_processing", "with_lifting", "inline_closure_likes", "make_function_op_code_to_jit_function",
    "inline_inlinables", "find_literally", "literal_unroll", "LiteralPropagation", "inline_overloads",
    "nopython_supported_feature_validation", "ir_legalization",
}  # fmt: skip


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    """Numba's pass that writes LLVM's code, without asking LLVM anything: that would wait for other kernels' code."""

    _name = "kernel_lowering"

    def run_pass(self, state: Any) -> bool:
        """Write a kernel and, unless it is a fragment, load the code if it is called from Python."""
        flags, context, library = state.flags, state.targetctx, state.library
        described = funcdesc.PythonFunctionDescriptor.from_specialized_function(
            state.func_ir, state.typemap, state.return_type, state.calltypes, mangler=context.mangler,
            inline=flags.forceinline, noalias=flags.noalias, abi_tags=[flags.get_mangle_string()],
        )  # fmt: skip
        with context.push_code_library(library):
            lower = Lower(context, library, described, state.func_ir, metadata=state.metadata)
            lower.lower()
            lower.context.create_module = _Module  # for the wrappers
            if not flags.no_cpython_wrapper:
                lower.create_cpython_wrapper(flags.release_gil)
            if not flags.no_cfunc_wrapper:
                lower.create_cfunc_wrapper()
        entry = None
        if isinstance(library, Piece):
            library.begin()
        elif isinstance(library, Whole):
            state.reload_init.extend(library.pieces())
        if isinstance(state.pipeline, FragmentCompiler):
            entry = library  # by which Numba knows what a call means
        elif not flags.no_compile:
            entry = context.get_executable(library, described, lower.env)
        context.insert_user_function(entry, described, [library])
        state["cr"] = compiler._LowerResult(described, lower.call_helper, cfunc=entry, env=lower.env)
        return True


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
        [every] = super().define_pipelines()
        needed = compiler.PassManager(every.pipeline_name)
        needed.passes = [
            (_Lowering if item[0] is NativeLowering else item[0], item[1])
            for item in every.passes
            if item[0]._name not in _SKIPPED
        ]
        needed.finalize()
        return [needed]


class FragmentCompiler(KernelCompiler):
    """Compiles a fragment."""

    def __init__(self, typing_context: Any, target_context: Any, _library: Any, *rest: Any) -> None:
        super().__init__(typing_context, target_context, self.library(target_context), *rest)

    def library(self, context: Any) -> Any:
        """Where its code is kept."""
        return Fragment(context.codegen(), "fragment")


class PieceCompiler(FragmentCompiler):
    """Compiles a piece."""

    def library(self, context: Any) -> Any:
        """Where its code is kept."""
        return Piece(context.codegen(), f"piece.{uuid.uuid4().hex}")


class FragmentDispatcher(registry.CPUDispatcher):
    """A kernel as other kernels call it."""

    def add_overload(self, result: Any) -> None:
        """Remember a fragment, which Python cannot call."""
        self.overloads[tuple(result.signature.args)] = result

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
