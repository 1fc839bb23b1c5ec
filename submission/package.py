"""The packager: a checkpoint becomes one self-contained `submission.tar.gz` for the judge.

    main.py                    at the top; the judge executes its text
    luxs2_<hash>/              everything else, under a name that no opponent's module has
        engine/ wrappers/ agent/ submission/    the modules that `submission.entry` imports
        own/                                    a backbone and features of the user's own, a file each
        config.json weights.npz

Imports between our packages are rewritten to relative ones. Same checkpoint and code, same bytes.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.compact import compact, play_state
from agent.stored import build_agent, read_stored
from agent.tasks.heads import heads_file, is_farm, load_heads
from engine.parts import is_part, part_source
from submission.files import write_whole
from submission.python37 import problems

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = Path(__file__).resolve().with_name("template_main.py")
OURS = ("engine", "wrappers", "agent", "submission")
BACKBONE = "own/backbone.py"  # where a backbone of the user's own is put
FARM_ENTRY = "submission.farm_entry"
ENTRIES = ("submission.entry", "agent.scripted.protocol")
# Judges have numba, but no place for its cache and no time to compile: the package runs everything as it is written.
PLAIN_JIT = '''"""Hot functions run as they are written here; training compiles them."""


def jit(function):
    return function


def is_compiled():
    return False
'''
SIZE_LIMIT = 100 * 10**6  # bytes, the judge's limit for a submission


@dataclass(frozen=True)
class PackageReport:
    """What was packaged; `parameters` are the weights of the policy, absent ones of a sparse layer not counted."""

    path: str
    checkpoint: str
    package: str
    size_bytes: int
    files: int
    parameters: int

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def package(checkpoint: Path | str, output: Path | str = "submission.tar.gz", greedy: bool = False) -> PackageReport:
    """Write the submission of a checkpoint.

    Args:
        checkpoint: a checkpoint folder, a run folder (its best checkpoint), `latest`, `warden`, `marshal`, or a `.tasks.npz` of learned
            heads.
        output: the tar.gz to write, whole or not at all.
        greedy: play the most likely action instead of a sample.

    Raises `ValueError` for a checkpoint that is missing, damaged or of another version, for code that the judge's
    Python cannot run, and for a package over the judge's size limit.
    """
    output = Path(output)
    if not output.name.endswith((".tar.gz", ".tgz")):
        raise ValueError(f"The package {output} must be named .tar.gz.")
    if is_farm(str(checkpoint)):
        return _farm_package(str(checkpoint), output)
    source = read_stored(checkpoint)
    policy = build_agent(source).policy
    own, renamed = own_parts(source.config["policy"])
    imported = [module for path, text in own.items() for module in imported_modules(text, path)]
    sources = dict(sorted({**collect_modules([*ENTRIES, *imported]), **own}.items()))
    config = {"policy": {**source.config["policy"], **renamed}, "actions": source.config["actions"], "greedy": greedy}
    data = {
        "config.json": json.dumps(config, indent=2, sort_keys=True).encode(),
        "weights.npz": npz_bytes(compact(play_state(policy))),
    }
    return _write(output, str(source.folder), sources, data, int(policy.stats()["policy_parameters"]))


def own_parts(policy: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """The files of the user's own parts by their places in a package, and what the policy's config says of them there."""
    files: dict[str, str] = {}
    renamed: dict[str, Any] = {}
    if is_part(backbone := policy["backbone"]):
        files[BACKBONE] = part_source(backbone)
        renamed["backbone"] = f"own.backbone:{backbone.rpartition(':')[2]}"
    if features := policy.get("features"):
        numbers: dict[str, int] = {}  # by text: several functions may be in one file
        number_of = [numbers.setdefault(part_source(name), len(numbers)) for name in features]
        files.update({f"own/features_{number}.py": text for text, number in numbers.items()})
        renamed["features"] = [f"own.features_{number}:{name.rpartition(':')[2]}" for name, number in zip(features, number_of)]
    return {**files, "own/__init__.py": ""} if files else {}, renamed


def _farm_package(player: str, output: Path) -> PackageReport:
    """The package of the farm of tasks: its own entry in the place of the policy's, and the learned heads."""
    sources = collect_modules((FARM_ENTRY, ENTRIES[1]))
    sources["submission/entry.py"] = sources.pop(f"{FARM_ENTRY.replace('.', '/')}.py")
    data, parameters = {}, 0
    if (path := heads_file(player)) is not None:
        parameters = sum(weights.size for head in load_heads(path).values() for weights in head)
        data["heads.tasks.npz"] = path.read_bytes()
    return _write(output, player, dict(sorted(sources.items())), data, parameters)


def _write(output: Path, made_from: str, sources: dict[str, str], data: dict[str, bytes], parameters: int) -> PackageReport:
    """Write a package of modules and data."""
    name = package_name(sources, data)
    files = {f"{name}/{path}": relative_imports(text, path).encode() for path, text in sources.items()}
    files.update({f"{name}/{path}": content for path, content in data.items()})
    main = re.sub(r"^import (?=agent|submission)", f"import {name}.", TEMPLATE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    files["main.py"] = main.encode()
    check_python37(files)
    archive = tar_gz_bytes(files)
    if len(archive) > SIZE_LIMIT:
        raise ValueError(f"The package has {len(archive)} bytes; the judge accepts at most {SIZE_LIMIT}.")
    write_whole(output, archive)
    return PackageReport(str(output), made_from, name, len(archive), len(files), parameters)


def collect_modules(entries: Iterable[str] = ENTRIES) -> dict[str, str]:
    """Source text by path (`agent/policy.py`) of the entries and of what they import of ours."""
    waiting = list(entries)
    found: dict[str, str] = {"__init__.py": ""}
    while waiting:
        path = _module_path(waiting.pop())
        key = path.relative_to(ROOT).as_posix()
        if key in found:
            continue
        found[key] = PLAIN_JIT if key == "engine/jit.py" else path.read_text(encoding="utf-8")
        waiting.extend(imported_modules(found[key], key))
        for parent in list(path.relative_to(ROOT).parents)[:-1]:
            waiting.append(".".join(parent.parts))
    return found


def _module_path(module: str) -> Path:
    module = module.removesuffix(".__init__")
    path = ROOT.joinpath(*module.split("."))
    if path.is_dir():
        return path / "__init__.py"
    return path.with_suffix(".py")


def imported_modules(text: str, path: str) -> set[str]:
    """Our modules that a source imports, wherever in the file; those for type checkers only are left out."""
    tree = ast.parse(text, path)
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    modules: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _is_ours(node.module):
            assert node.module is not None
            modules.add(node.module)
            # `from agent import policy` may name a module or something in the package
            modules.update(f"{node.module}.{alias.name}" for alias in node.names if _module_path(f"{node.module}.{alias.name}").is_file())
        elif isinstance(node, ast.ImportFrom) and node.level > 0:
            raise ValueError(f"{path} line {node.lineno} has a relative import, which the packager does not follow.")
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names if _is_ours(alias.name))
    return modules


def _is_ours(module: str | None) -> bool:
    return module is not None and module.split(".")[0] in OURS


def relative_imports(text: str, path: str) -> str:
    """The source with imports of our packages made relative to the package that it is put into.

    `path` is its place there, such as `agent/policy.py`. Raises `ValueError` for `import engine.state`, which binds a
    name that does not exist there; `import engine.state as state` is fine.
    """
    up = "." * (path.count("/") + 1)
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _is_ours(node.module):
            pattern, new = rf"from(\s+){re.escape(node.module or '')}(?=\s)", rf"from\g<1>{up}{node.module}"
        elif isinstance(node, ast.Import) and any(_is_ours(alias.name) for alias in node.names):
            alias = node.names[0]
            if len(node.names) > 1 or alias.asname is None:
                raise ValueError(f"{path} line {node.lineno}: the packager needs `from x import y` or `import x.y as y`.")
            parent, _, last = f"{up}{alias.name}".rpartition(".")
            parent = parent if parent.strip(".") else up
            pattern, new = rf"import\s+{re.escape(alias.name)}\s+as\s+{alias.asname}", f"from {parent} import {last} as {alias.asname}"
        else:
            continue
        line = lines[node.lineno - 1]
        start = len(line.encode()[: node.col_offset].decode())
        changed, count = re.subn(pattern, new, line[start:], count=1)
        if count != 1:
            raise ValueError(f"{path} line {node.lineno}: the packager cannot read this import.")
        lines[node.lineno - 1] = line[:start] + changed
    return "\n".join(lines)


def check_python37(files: dict[str, bytes]) -> None:
    """Raises `ValueError` with the first thing that the oldest image of the judge would not run."""
    for path, content in sorted(files.items()):
        if path.endswith(".py"):
            for problem in problems(content.decode(), path):
                raise ValueError(f"{problem}, which the judge's oldest image (Python 3.7, torch 1.11, numpy 1.21) does not have.")


def package_name(sources: dict[str, str], data: dict[str, bytes]) -> str:
    """A module name made of the contents, so that two different agents can play in one process."""
    digest = hashlib.sha256()
    for path, content in sorted({**{path: text.encode() for path, text in sources.items()}, **data}.items()):
        digest.update(f"{path} {len(content)}\n".encode() + content)
    return f"luxs2_{digest.hexdigest()[:12]}"


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """An uncompressed `.npz` with fixed times and sorted names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in sorted(arrays.items()):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array).reshape(array.shape), version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    return buffer.getvalue()


def tar_gz_bytes(files: dict[str, bytes]) -> bytes:
    """A tar.gz of these files, the same bytes whenever and by whomever it is made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), 0o644, 0
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0)
