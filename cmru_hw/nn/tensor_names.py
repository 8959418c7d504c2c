"""The names of a checkpoint's tensors, and help for tensors with other names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import SequenceMatcher
from typing import Any

from cmru_hw.core.errors import CheckpointError
from cmru_hw.nn.input_files import quoted

PAGE = "docs/bring-your-own.md"
MAX_LAYERS = 64

_SHOWN = 40
_NAME = re.compile(
    r"input\.(scale|offset)|(projection|readout)\.(weight|bias)"
    r"|layers\.(0|[1-9]\d{0,3})\.((candidate|threshold|alpha|output)\.(weight|bias)|alpha|low|width|initial_state)"
)

# Parts that networks of this family often have and that no circuit here can realize, by the names of their tensors.
_UNFOLDABLE = {
    "layer normalisation": r"norm\d*|ln\d*|layer_?norm\d*|rms_?norm\d*|group_?norm\d*",
    "a gated linear unit": r"glu\d*|swiglu|geglu",
    "attention": r"attn\d*|(self_|cross_)?attention|[qkv]_proj|in_proj_(weight|bias)",
    "softmax": r"softmax",
}
_BATCH_NORM = r"bn\d*|batch_?norm(_?\d+)?|running_(mean|var)|num_batches_tracked"
_PARAMETRISED = r"weight_(g|v|orig|mask)|parametrizations|original\d*"

# Names that other programs give the parts of a cell; used only to suggest the probable name.
_ROLES = {
    "candidate": "candidate cand c wc hat ih wx fc linear dense",
    "threshold": "threshold thr thresh beta wb wbeta theta",
    "alpha": "alpha gain amp amplitude a wa",
    "initial_state": "initial init h0 s0 k0 state",
    "readout": "readout head out classifier decoder logits",
    "projection": "projection proj encoder embed embedding",
    "output": "output wo",
    "low": "low lo lower",
    "width": "width delta hysteresis",
    "scale": "scale std sd",
    "offset": "offset mean mu shift",
    "weight": "weight kernel w",
    "bias": "bias b",
}


def expected(cell: str, depth: int) -> tuple[str, ...]:
    """Names of all tensors of a network of ``depth`` layers."""
    both = ("weight", "bias")
    if cell == "fq-bmru":
        own = [f"candidate.{leaf}" for leaf in both] + ["low", "width", "alpha", "initial_state"]
        own += [f"output.{leaf}" for leaf in both]
    else:
        own = [f"{part}.{leaf}" for part in ("candidate", "threshold") for leaf in both]
        own += [f"alpha.{leaf}" for leaf in both] if cell == "acmru" else ["alpha"]
        own.append("initial_state")
    front = [f"projection.{leaf}" for leaf in both] if cell == "fq-bmru" else []
    layers = [f"layers.{index}.{name}" for index in range(depth) for name in own]
    return ("input.scale", "input.offset", *front, *layers, "readout.weight", "readout.bias")


def check(names: Collection[str]) -> None:
    """Raise CheckpointError, which lists all of them, for names that no checkpoint has."""
    unknown = sorted(name for name in names if not _NAME.fullmatch(name))
    if not unknown:
        return
    refuse_unfoldable(unknown, names)
    nearest = _nearest(unknown)
    listed = ", ".join(f"{quoted(name)} (nearest: {' or '.join(nearest[name])})" for name in unknown[:_SHOWN])
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    subject = "1 tensor name is" if len(unknown) == 1 else f"{len(unknown)} tensor names are"
    raise CheckpointError(
        f"{subject} unknown: {listed}{more}; rename, or map the names with cmru-hw convert --names, see {PAGE}"
    )


def common_prefix(names: Collection[str]) -> str:
    """A prefix ending in a dot without which all names are known; "" if there is none or none is needed."""
    first = min(names, default="")
    for end in (place + 1 for place, letter in enumerate(first) if letter == "."):
        prefix = first[:end]
        if all(name.startswith(prefix) and _NAME.fullmatch(name[end:]) for name in names):
            return prefix
    return ""


def refuse_unfoldable(unknown: Iterable[str], names: Collection[str]) -> None:
    """Raise CheckpointError for the first name that belongs to a part which no fixed weights can replace."""
    for name in unknown:
        parts = name.lower().replace("/", ".").split(".")
        module = name.rpartition(".")[0]
        normalises_batches = f"{module}.running_mean" in names
        if normalises_batches or any(re.fullmatch(_BATCH_NORM, part) for part in parts):
            raise CheckpointError(
                f"tensor {quoted(name)} belongs to batch normalisation; fold it, in evaluation mode, by a [[before]] "
                f"of a map of names, see {PAGE}"
            )
        if any(re.fullmatch(_PARAMETRISED, part) for part in parts):
            raise CheckpointError(
                f"tensor {quoted(name)} belongs to a parametrised or pruned weight; make it permanent before saving "
                "(torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove)"
            )
        for what, pattern in _UNFOLDABLE.items():
            if any(re.fullmatch(pattern, part) for part in parts):
                raise CheckpointError(
                    f"tensor {quoted(name)} belongs to {what}, which depends on the data it sees and cannot be folded "
                    "into fixed weights; train a network without it"
                )


def refuse_missing(cell: str, depth: int, names: Collection[str]) -> None:
    """Raise CheckpointError, which lists all of them, for missing tensors and for tensors that the network lacks."""
    wanted = expected(cell, depth)
    if missing := [name for name in wanted if name not in names]:
        one = len(missing) == 1
        what = f"tensor {missing[0]} is" if one else f"tensors {', '.join(missing)} are"
        has = "it" if one else "them"
        raise CheckpointError(f"{what} missing; a {cell} network of {_layers(depth)} has {has}, see {PAGE}")
    if extra := sorted(set(names) - set(wanted)):
        what = f"tensor {extra[0]} has" if len(extra) == 1 else f"tensors {', '.join(extra)} have"
        raise CheckpointError(f"{what} no place in a {cell} network of {_layers(depth)}; remove or rename")


def _layers(depth: int) -> str:
    return f"{depth} layer{'s' * (depth > 1)}"


def depth(names: Iterable[str]) -> int:
    """Number of layers. Raises CheckpointError for a gap, or unless there are 1 to MAX_LAYERS."""
    numbers = {name.split(".")[1] for name in names if name.startswith("layers.")}
    found = 0
    while str(found) in numbers and found <= MAX_LAYERS:
        found += 1
    if not 1 <= found <= MAX_LAYERS:
        raise CheckpointError(
            f"there are {found} layers; tensors layers.0.… to at most layers.{MAX_LAYERS - 1}.… are read"
        )
    return found


def shapes(
    cell: str,
    features: int,
    units: tuple[int, ...],
    classes: int,
    *,
    skip: bool,
    widths: tuple[int, ...] | None,
) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a network. Raises CheckpointError unless ``widths`` fit ``units``."""
    found: dict[str, tuple[int, ...]] = {"input.scale": (features,), "input.offset": (features,)}

    def linear(name: str, rows: int, columns: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (rows, columns), (rows,)

    fixed = cell == "fq-bmru"
    reads = features
    if fixed:
        widths = widths or (units[0], *units)
        if len(widths) != len(units) + 1:
            raise CheckpointError(f"{len(units)} layers need {len(units) + 1} widths, not {len(widths)}")
        reads = widths[0]
        linear("projection", reads, features)
    for index, count in enumerate(units):
        name = f"layers.{index}"
        vectors = ["initial_state"] + ["low", "width"] * fixed + ["alpha"] * (cell != "acmru")
        found |= {f"{name}.{leaf}": (count,) for leaf in vectors}
        linear(f"{name}.candidate", count, reads)
        if fixed:
            assert widths is not None
            reads = widths[index + 1]
            linear(f"{name}.output", reads, count)
            continue
        linear(f"{name}.threshold", count, reads)
        if cell == "acmru":
            linear(f"{name}.alpha", count, reads)
        reads = count + reads if skip and index + 1 < len(units) else count
    linear("readout", classes, reads)
    return found


def sizes(tensors: Mapping[str, Any], cell: str) -> tuple[int, tuple[int, ...], tuple[int, ...] | None]:
    """(features, units, widths) from the shapes of the tensors. Raises CheckpointError for an unknown name."""
    check(tensors.keys())
    layers = range(depth(tensors))
    refuse_missing(cell, len(layers), tensors.keys())
    units = tuple(_size(tensors, f"layers.{index}.candidate.bias") for index in layers)
    widths = None
    if cell == "fq-bmru":
        rows = (_size(tensors, f"layers.{index}.output.bias") for index in layers)
        widths = (_size(tensors, "projection.bias"), *rows)
    return _size(tensors, "input.scale"), units, widths


def _size(tensors: Mapping[str, Any], name: str) -> int:
    if tensors[name].ndim != 1 or not len(tensors[name]):
        raise CheckpointError(f"tensor {name} has shape {tuple(tensors[name].shape)}; it must be a vector")
    return len(tensors[name])


# --- Which name is probably meant --------------------------------------------------------------------------------


def _nearest(unknown: list[str]) -> dict[str, list[str]]:
    """The two most similar names of checkpoints for each unknown name, best first."""
    numbers = sorted({int(found[0]) for name in unknown if (found := re.search(r"\d{1,6}", name))})
    result = {}
    for name in unknown:
        found = re.search(r"\d{1,6}", name)
        layer = min(numbers.index(int(found[0])), MAX_LAYERS - 1) if found else 0
        known = {one for cell in ("cmru", "acmru", "fq-bmru") for one in expected(cell, 1)}
        known = {one.replace("layers.0.", f"layers.{layer}.") for one in known}
        scored = sorted((-_likeness(one, name), one) for one in known)
        result[name] = [one for _, one in scored[:2]]
    return result


def _likeness(known: str, name: str) -> float:
    words = _words(name)
    parts = known.split(".")
    roles = sum(3.0 for part in parts if set(_ROLES.get(part, "").split()) & words)
    return roles - 0.1 * len(parts) + SequenceMatcher(None, known, name[:128].lower()).ratio()


def _words(name: str) -> set[str]:
    """The words of a name, split at punctuation and capitals; h0 and Wc stay complete, too."""
    parts = {part.lower() for part in re.split(r"[._/\-: ]+", name[:128])}
    split = re.findall(r"[A-Z]+[a-z]*|[a-z]+", name[:128])
    return parts | {part.lower() for part in split}
