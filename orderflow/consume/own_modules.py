"""Has a handler find its own modules first, and everybody else those that they mean.

A file `email.py` beside a handler is the handler's. What serves the metrics, or asks the registry, needs the
standard library's, perhaps later than the handler needed its own. Python has one place for both. So whoever
imports decides which it is, and what a handler has loaded under the name of another module leaves that place
once the handler is loaded. Who has imported it keeps it.
"""

import contextlib
import importlib
import os
import sys
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from pathlib import Path
from traceback import walk_stack
from types import ModuleType
from typing import Any, Dict, List, Optional, Sequence, Tuple

OUR_MODULES = ("config", "consumer", "producer", "dlq_handler", "tools", "tests", "benchmarks", "examples")
"""What stands beside the package, under names that a handler's own modules may have too."""
PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BESIDE_US = os.path.dirname(PACKAGE)
IS_CLONE = os.path.exists(os.path.join(BESIDE_US, "consumer.py"))
"""Whether what lies beside the package is ours; beside an installed one lie the packages of others."""
STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__))


def let_own_modules_win(source: str) -> None:
    """Have the handler find its own modules first: those beside its file, and in the working directory."""
    folders: List[str] = []
    with contextlib.suppress(FileNotFoundError):  # a deployment may have removed it behind our back
        folders.append(os.getcwd())
    if source.endswith(".py"):
        folders.insert(0, str(Path(source).resolve().parent))
    sys.path[:0] = folders
    importlib.invalidate_caches()
    for name in OUR_MODULES:
        found = PathFinder.find_spec(name, folders)
        ours = getattr(sys.modules.get(name), "__file__", None)
        if found is not None and found.origin is not None and ours is not None and found.origin != ours:
            del sys.modules[name]  # who has imported it keeps it
    for finder in _finders():
        return finder.folders.extend(folders)
    place = next((at for at, finder in enumerate(sys.meta_path) if finder is PathFinder), 0)
    sys.meta_path.insert(place, _Finder(folders))
    return None


def import_own(name: str) -> ModuleType:
    """Import a module on behalf of the handler."""
    return importlib.import_module(name)


def names_another(name: str) -> bool:
    """Whether a module of this name is in use, or one of the standard library or a package is called so."""
    return name in sys.modules or any(_elsewhere(name, finder.folders) is not None for finder in _finders())


def step_back() -> None:
    """Give back the names under which a handler has loaded modules that are called as others are."""
    for finder in _finders():
        finder.step_back()


def _finders() -> List["_Finder"]:
    return [finder for finder in sys.meta_path if isinstance(finder, _Finder)]


class _Finder(MetaPathFinder):
    """Stands before the search along `sys.path`, which begins with the handler's folders."""

    def __init__(self, folders: List[str]) -> None:
        self.folders = folders
        """The handler's, and those of the rules."""
        self._kept: Dict[str, ModuleType] = {}
        """The handler's, by the name that they had to give back."""

    def find_spec(
        self, name: str, path: Optional[Sequence[Any]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """The module that is meant; None if the usual search finds it."""
        kept = self._kept.get(name)
        if path is not None:
            return None if kept is None or not _is_own(_importer(), self._known) else _spec_of(kept)
        if kept is None and PathFinder.find_spec(name, self.folders) is None:
            return None
        if _is_own(_importer(), self._known):
            return None if kept is None else _spec_of(kept)
        return _elsewhere(name, self.folders)

    @property
    def _known(self) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
        """The handler's folders, and others that may lie in them."""
        own = tuple(map(os.path.realpath, self.folders))
        others = {*map(os.path.realpath, sys.path), STANDARD_LIBRARY, PACKAGE} - set(own)
        return own, tuple(sorted(others))

    def step_back(self) -> None:
        """Give back the names of modules that are called as others are."""
        known = self._known
        for name, module in list(sys.modules.items()):
            file = None if "." in name or name.startswith("__") else getattr(module, "__file__", None)
            if file is not None and _is_own(file, known) and _elsewhere(name, self.folders) is not None:
                for one in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
                    self._kept[one] = sys.modules.pop(one)


class _Kept:
    """Loads a module that is loaded already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """It is there."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """It has run."""


def _spec_of(module: ModuleType) -> Optional[ModuleSpec]:
    path = getattr(module, "__path__", None)
    name = module.__name__
    return spec_from_loader(name, _Kept(module), is_package=path is not None)  # type: ignore[arg-type]


def _elsewhere(name: str, folders: Sequence[str]) -> Optional[ModuleSpec]:
    """A module of the standard library or of a package that is called so."""
    own = set(map(os.path.realpath, folders))
    left_out = own | {BESIDE_US} if IS_CLONE else own - {BESIDE_US}
    found = PathFinder.find_spec(
        name, [entry for entry in sys.path if os.path.realpath(entry) not in left_out]
    )
    return found if found is not None and found.loader is not None and found.origin is not None else None


def _importer() -> str:
    """The file whose code imports something now: of this thread, which stands still meanwhile."""
    files = (frame.f_code.co_filename for frame, _ in walk_stack(sys._getframe(2)))
    return next((file for file in files if not _is_machinery(file)), "")


def _is_machinery(file: str) -> bool:
    return file.startswith("<") or file == importlib.__file__


@lru_cache(maxsize=4096)
def _is_own(file: str, known: Tuple[Tuple[str, ...], Tuple[str, ...]]) -> bool:
    """Whether a file is the handler's: the innermost known folder around it is one of the handler's."""
    own, others = known
    if file == __file__:
        return True  # it imports on behalf of the handler
    real = os.path.realpath(file)
    around = [folder for folder in own + others if real.startswith(folder.rstrip(os.sep) + os.sep)]
    return bool(around) and max(around, key=len) in own
