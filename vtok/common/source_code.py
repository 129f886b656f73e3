"""Finds classes and functions in Python source without running it."""

import ast
import builtins
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class NotReadable(Exception):
    """The source cannot be read, or its text alone does not define the name."""


@dataclass(frozen=True)
class Definition:
    """A class or function with the module that defines it."""

    module: "Module"
    node: ast.ClassDef | ast.FunctionDef

    @property
    def target(self) -> str:
        return f"{self.module.name}.{self.node.name}"

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""

    def bases(self) -> list["Definition"]:
        """The base classes whose source can be read, nearest first."""
        return [one for parent in self._parents() for one in (parent, *parent.bases())]

    def _parents(self) -> list["Definition"]:
        if not isinstance(self.node, ast.ClassDef):
            return []
        found = []
        for base in self.node.bases:
            name = base.value if isinstance(base, ast.Subscript) else base
            with suppress(NotReadable):
                found.append(self.module.definition(ast.unparse(name), exclude=self.node))
        return found

    @property
    def is_followed(self) -> bool:
        """Whether the source of all base classes, except those of the standard library, can be read."""
        if not isinstance(self.node, ast.ClassDef):
            return True
        others = [one for one in self.node.bases if not self.module.is_pythons_own(one)]
        parents = [one for one in self._parents() if one.module.name.partition(".")[0] not in sys.stdlib_module_names]
        return len(parents) == len(others) and all(one.is_followed for one in parents)


class Module:
    """The top level of a source file.

    Args:
        name: full name of the module.
        path: source file of the module.

    Raises:
        NotReadable: the file is not Python source.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.is_package = path.name == "__init__.py"
        self.names: dict[str, ast.AST] = {}
        self.imports: dict[str, tuple[str, str | None]] = {}
        try:
            self._read(ast.parse(path.read_bytes()).body)
        # NUL bytes, another encoding, or a syntax error.
        except (SyntaxError, ValueError) as error:
            raise NotReadable(f"{path}: {error}") from error

    def _read(self, statements: list[ast.stmt]) -> None:
        for node in statements:
            match node:
                case ast.ClassDef() | ast.FunctionDef():
                    self.names[node.name] = node
                case ast.Assign(targets=[ast.Name(id=name)]):
                    self.names[name] = node.value
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self.names[name] = value
                case ast.Import():
                    for alias in node.names:
                        module = alias.name if alias.asname else alias.name.split(".")[0]
                        self.imports[alias.asname or module] = (module, None)
                case ast.ImportFrom():
                    for alias in node.names:
                        self.imports[alias.asname or alias.name] = (self._absolute(node), alias.name)
                # `if TYPE_CHECKING:` and `try: import` of optional libraries.
                case ast.If() | ast.Try():
                    self._read(node.body)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.name.split(".")
        parents = parents[: len(parents) - node.level + self.is_package]
        return ".".join([*parents, *([node.module] if node.module else [])])

    def is_pythons_own(self, base: ast.expr) -> bool:
        """Whether a base class, such as `ABC` or `Generic[T]`, is of the standard library."""
        first = ast.unparse(base).partition("[")[0].partition(".")[0]
        origin = self.imports[first][0] if first in self.imports else ""
        return origin.partition(".")[0] in sys.stdlib_module_names or (not origin and hasattr(builtins, first))

    def definition(self, name: str, exclude: ast.AST | None = None) -> Definition:
        """The class or function with this name, which may be dotted, in this module.

        Args:
            name: name as written in this module.
            exclude: class to ignore; it may have the same name as the imported class that it derives from.

        Raises:
            NotReadable: the name is not defined in Python source, or is neither a class nor a function.
        """
        first, _, rest = name.partition(".")
        node = self.names.get(first)
        if node is not None and node is not exclude and not rest:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                return Definition(self, node)
            # An alias.
            if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) != name:
                return self.definition(ast.unparse(node))
        elif first in self.imports:
            module, imported = self.imports[first]
            return find(".".join(part for part in (module, imported, rest) if part))
        raise NotReadable(f"{self.name}.{name}")


@cache
def module(name: str) -> Module | None:
    """The source of a module; None if there is none.

    Python's own finder looks up the top-level package only: for a submodule it would import all packages above it.
    """
    top, *rest = name.split(".")
    try:
        spec = find_spec(top)
    except (ValueError, ImportError):
        return None
    if spec is None:
        return None
    # A namespace package has no __init__.py and may have several folders.
    path = Path(spec.origin) if spec.origin is not None else None
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    for part in rest:
        files = [file for folder in folders for file in (folder / part / "__init__.py", folder / f"{part}.py")]
        path = next((file for file in files if file.is_file()), None)
        if path is not None:
            folders = [path.parent] if path.name == "__init__.py" else []
        else:
            folders = [folder / part for folder in folders if (folder / part).is_dir()]
    return Module(name, path) if path is not None and path.suffix == ".py" else None


def split(target: str) -> tuple[Module, str]:
    """Split a full name into its longest prefix that is a module, and the rest.

    Raises:
        NotReadable: no prefix is a module with source.
    """
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if (found := module(".".join(parts[:length]))) is not None:
            return found, ".".join(parts[length:])
    raise NotReadable(target)


def find(target: str) -> Definition:
    """The class or function with a full name; re-exports are followed.

    Raises:
        NotReadable: its source cannot be followed.
    """
    inside, name = split(target)
    try:
        return inside.definition(name)
    except RecursionError as error:
        raise NotReadable(f"{target}: its names refer to each other") from error
