"""Networks in other people's style: their own names, layouts and files. They use no code of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Cell(nn.Module):
    """A CMRU layer in a dozen lines of plain PyTorch."""

    def __init__(self, inputs: int, units: int, levels: int) -> None:
        super().__init__()
        self.Wc, self.Wb = nn.Linear(inputs, units), nn.Linear(inputs, units)
        self.gain = nn.Parameter(torch.rand(units) + 0.2)
        self.levels = levels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        c, b = self.Wc(x), self.Wb(x).abs()
        up, down = (c >= b).float(), (-c > b).float()
        k, states = torch.ones(len(x), c.shape[-1]), []
        for t in range(x.shape[1]):
            k = (k + up[:, t] - down[:, t]).clamp(-self.levels, self.levels)
            states.append(k)
        s = torch.stack(states, 1)
        return self.gain * s, s


class Plain(nn.Module):
    """Two layers and a head, on inputs that are standardized outside of the network."""

    def __init__(self, inputs: int, units: int, classes: int, levels: int = 3) -> None:
        super().__init__()
        self.rnn1, self.rnn2 = Cell(inputs, units, levels), Cell(units, units, levels)
        self.head = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        h, first = self.rnn1(x)
        h, second = self.rnn2(h)
        return self.head(h), [first, second]


class Encoded(nn.Module):
    """A linear encoder before the first cell, batch normalisation between the cells, a linear map before the head."""

    def __init__(self, inputs: int, units: int, classes: int, levels: int = 3) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(inputs, 5), nn.Linear(units, 6, bias=False)
        self.cell_a, self.cell_b = Cell(5, units, levels), Cell(units, units, levels)
        self.bn = nn.BatchNorm1d(units)
        self.classifier = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        h, first = self.cell_a(self.encoder(x))
        h, second = self.cell_b(self.bn(h.transpose(1, 2)).transpose(1, 2))
        return self.classifier(self.decoder(h)), [first, second]


def own_outputs(path: Path, inputs: np.ndarray, logits: Tensor, states: list[Tensor]) -> Path:
    """Write the outputs file for ``--check``."""
    named: dict[str, Any] = {f"states_{layer}": values.numpy() for layer, values in enumerate(states)}
    np.savez(path, inputs=inputs, logits=logits.numpy(), **named)
    return path


MODEL = 'cell = "cmru"\nlevels = 3\nskip = false\ndecision = "mean"\n'


def cells(names: tuple[str, str], candidate: str = "Wc", threshold: str = "Wb") -> str:
    """Lines of a map of names for two layers of :class:`Cell`."""
    lines = []
    for layer, name in enumerate(names):
        for part, own in (("candidate", candidate), ("threshold", threshold)):
            lines += [
                f'"layers.{layer}.{part}.{leaf}" = {{ from = "{name}.{own}.{leaf}" }}' for leaf in ("weight", "bias")
            ]
        lines.append(f'"layers.{layer}.alpha" = {{ from = "{name}.gain" }}')
        lines.append(f'"layers.{layer}.initial_state" = {{ fill = 1.0 }}')
    return "\n".join(lines) + "\n"


def plain_pytorch(folder: Path) -> tuple[Path, Path, Path]:
    """A trainer's file with mean and deviation next to the weights; one feature has an outlier of 36 deviations."""
    torch.manual_seed(1)
    raw = np.random.default_rng(1).normal(3.0, 2.0, size=(12, 8, 8)).astype(np.float32)
    raw[:, :, 0] = 0.02
    raw[0, 0, 0] = 3.0
    mean, std = raw.mean((0, 1)), raw.std((0, 1)) + 1e-3
    network = Plain(8, 6, 4).eval()
    with torch.no_grad():
        logits, states = network(torch.from_numpy((raw - mean) / std))
    optimizer = torch.optim.Adam(network.parameters())
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    trainer = {"model": state, "optimizer": optimizer.state_dict(), "epoch": 7}
    torch.save({**trainer, "mu": torch.tensor(mean), "sd": torch.tensor(std)}, folder / "my.pt")
    text = f'[model]\n{MODEL}classes = ["0", "1", "2", "3"]\n[input]\nmean = "mu"\nstd = "sd"\n[tensors]\n'
    text += cells(("module.rnn1", "module.rnn2"))
    text += '"readout.weight" = { from = "module.head.weight" }\n"readout.bias" = { from = "module.head.bias" }\n'
    (folder / "names.toml").write_text(text)
    return folder / "my.pt", folder / "names.toml", own_outputs(folder / "own.npz", raw, logits, states)


def lightning(folder: Path) -> tuple[Path, Path, Path]:
    """A ``.ckpt`` as Lightning writes it, of a compiled network, with a class-weighted loss."""
    torch.manual_seed(2)
    network = Encoded(3, 4, 2)
    with torch.no_grad():
        mean, variance = network.bn.running_mean, network.bn.running_var
        assert mean is not None and variance is not None
        mean.normal_()
        variance.uniform_(0.5, 2.0)
        network.bn.weight.normal_()
        network.bn.bias.normal_()
    network.eval()
    inputs = np.random.default_rng(2).normal(size=(10, 9, 3)).astype(np.float32)
    with torch.no_grad():
        logits, states = network(torch.from_numpy(inputs))
    weights = {f"model._orig_mod.{name}": value for name, value in network.state_dict().items()}
    content = {"epoch": 3, "global_step": 120, "pytorch-lightning_version": "2.4.0", "callbacks": {}, "loops": {}}
    content |= {"optimizer_states": [torch.optim.AdamW(network.parameters()).state_dict()], "lr_schedulers": []}
    torch.save({**content, "state_dict": {**weights, "criterion.weight": torch.ones(2)}}, folder / "last.ckpt")
    text = f'ignore = ["criterion.*"]\n[model]\n{MODEL}classes = ["no", "yes"]\n'
    text += '[[before]]\nlayer = 0\nlinear = "model.encoder"\n[[before]]\nlayer = 1\nbatch_norm = "model.bn"\n'
    text += '[[before]]\nlayer = "readout"\nlinear = "model.decoder"\n[tensors]\n'
    text += cells(("model.cell_a", "model.cell_b"))
    text += '"readout.weight" = { from = "model.classifier.weight" }\n'
    text += '"readout.bias" = { from = "model.classifier.bias" }\n'
    (folder / "names.toml").write_text(text)
    return folder / "last.ckpt", folder / "names.toml", own_outputs(folder / "own.npz", inputs, logits, states)


def flax(folder: Path) -> tuple[Path, Path, Path]:
    """Parameters and batch statistics under slashed names, kernels [in, out], one kernel for both rows, one gain."""
    random = np.random.default_rng(3)
    units, levels = 5, 7
    arrays = {
        "params/Dense_0/kernel": random.standard_normal((3, 4)),
        "params/Dense_0/bias": random.standard_normal(4),
        "params/BatchNorm_0/scale": random.standard_normal(4),
        "params/BatchNorm_0/bias": random.standard_normal(4),
        "batch_stats/BatchNorm_0/mean": random.standard_normal(4),
        "batch_stats/BatchNorm_0/var": random.uniform(0.5, 2, 4),
        "params/Cell_0/rows/kernel": random.standard_normal((4, 2 * units)),
        "params/Cell_0/rows/bias": random.standard_normal(2 * units),
        "params/Cell_0/gain": np.array(-0.3),
        "params/Cell_0/start": random.standard_normal(units),
        "params/head/kernel": random.standard_normal((units, 2)),
        "params/head/bias": random.standard_normal(2),
    }
    x = random.standard_normal((10, 12, 3)).astype(np.float32)
    encoded = x @ arrays["params/Dense_0/kernel"] + arrays["params/Dense_0/bias"]
    normal = (encoded - arrays["batch_stats/BatchNorm_0/mean"]) / np.sqrt(arrays["batch_stats/BatchNorm_0/var"] + 1e-5)
    seen = normal * arrays["params/BatchNorm_0/scale"] + arrays["params/BatchNorm_0/bias"]
    both = seen @ arrays["params/Cell_0/rows/kernel"] + arrays["params/Cell_0/rows/bias"]
    c, beta = both[..., :units], both[..., units:]
    k, states = np.where(arrays["params/Cell_0/start"] >= 0, 1.0, -1.0), []
    for t in range(x.shape[1]):
        k = np.clip(k + (abs(c[:, t]) >= abs(beta[:, t])) * np.where(c[:, t] >= 0, 1, -1), -levels, levels)
        states.append(k)
    s = np.stack(states, 1)
    # |gain|: a softplus or abs in the model keeps it positive.
    scores = (abs(arrays["params/Cell_0/gain"]) * s) @ arrays["params/head/kernel"] + arrays["params/head/bias"]
    single: dict[str, Any] = {name: value.astype(np.float32) for name, value in arrays.items()}
    np.savez(folder / "params.npz", **single)
    np.savez(folder / "own.npz", inputs=x, logits=scores.mean(1), states_0=s)
    norm = ", ".join(f'{ours} = "params/BatchNorm_0/{own}"' for ours, own in (("weight", "scale"), ("bias", "bias")))
    norm += ", " + ", ".join(f'{part} = "batch_stats/BatchNorm_0/{part}"' for part in ("mean", "var"))
    rows = {"candidate": [0, units], "threshold": [units, 2 * units]}
    lines = []
    for part, taken in rows.items():
        kernel = f'from = "params/Cell_0/rows/kernel", transpose = true, rows = {taken}'
        lines += [f'"layers.0.{part}.weight" = {{ {kernel} }}']
        lines += [f'"layers.0.{part}.bias" = {{ from = "params/Cell_0/rows/bias", rows = {taken} }}']
    lines += [f'"layers.0.alpha" = {{ from = "params/Cell_0/gain", reshape = {units}, abs = true }}']
    lines += ['"layers.0.initial_state" = { from = "params/Cell_0/start", binarise = true }']
    lines += ['"readout.weight" = { from = "params/head/kernel", transpose = true }']
    lines += ['"readout.bias" = { from = "params/head/bias" }']
    text = '[model]\ncell = "cmru"\nlevels = 7\ndecision = "mean"\nclasses = ["no", "yes"]\n'
    text += '[[before]]\nlayer = 0\nlinear = "params/Dense_0"\n'
    text += f"[[before]]\nlayer = 0\nbatch_norm = {{ {norm} }}\n[tensors]\n" + "\n".join(lines)
    (folder / "names.toml").write_text(text)
    return folder / "params.npz", folder / "names.toml", folder / "own.npz"


def fq_bmru(folder: Path) -> tuple[Path, Path, Path]:
    """One FQ-BMRU layer after two linear maps; thresholds have the sign that training gave them."""
    torch.manual_seed(4)
    first, second = nn.Linear(3, 4), nn.Linear(4, 5)
    candidate, output, head = nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 2)
    low, width, scale = -torch.rand(6) * 0.2, -torch.rand(6) * 0.2, torch.rand(6) + 0.5
    x = torch.randn(10, 11, 3)
    with torch.no_grad():
        c = torch.relu(candidate(torch.relu(second(first(x)))))
        s, states = torch.zeros(len(x), 6), []
        for t in range(x.shape[1]):
            s = torch.where(c[:, t] >= low.abs() + width.abs(), 1.0, torch.where(c[:, t] < low.abs(), 0.0, s))
            states.append(s)
        logits = head(torch.relu(output(scale * torch.stack(states, 1))))
    modules = {"first": first, "second": second, "cell.candidate": candidate, "cell.output": output, "head": head}
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    torch.save({**tensors, "cell.lo": low, "cell.delta": width, "cell.scale": scale}, folder / "fq.pth")
    text = '[model]\ncell = "fq-bmru"\nskip = false\ndecision = "mean"\nclasses = ["no", "yes"]\n'
    text += '[[before]]\nlayer = 0\nlinear = "first"\n[[before]]\nlayer = 0\nlinear = "second"\n[tensors]\n'
    pairs = {"layers.0.candidate": "cell.candidate", "layers.0.output": "cell.output", "readout": "head"}
    for ours, own in pairs.items():
        text += "".join(f'"{ours}.{leaf}" = {{ from = "{own}.{leaf}" }}\n' for leaf in ("weight", "bias"))
    text += (
        '"layers.0.low" = { from = "cell.lo", abs = true }\n"layers.0.width" = { from = "cell.delta", abs = true }\n'
    )
    text += '"layers.0.alpha" = { from = "cell.scale" }\n"layers.0.initial_state" = { fill = 0.0 }\n'
    (folder / "names.toml").write_text(text)
    return (
        folder / "fq.pth",
        folder / "names.toml",
        own_outputs(folder / "own.npz", x.numpy(), logits, [torch.stack(states, 1)]),
    )
