"""``python -m tools.schematics`` draws the cells of the power-gated chip into docs/schematics.

Every sheet is compared with its netlist before it is written: devices, types and the net of each terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tools.drawing import Sheet, differences

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schematics"


def comparator() -> Sheet:
    sheet = Sheet("power_gated_comparator", "power_gated_comparator")
    sheet.mos("xt", "pf", (3, 12), g="ckn", s="vt")
    sheet.mos("xi1", "pf", (0, 9.5), g="inp")
    sheet.mos("xi2", "pf", (6, 9.5), "right", g="inn")
    sheet.wire("xt.d", (3, 10.75))
    sheet.wire("xi1.s", (0, 10.75), (6, 10.75), "xi2.s")
    sheet.name((1.5, 10.75), "t")
    sheet.mos("xp1", "pf", (0, 7), "right")
    sheet.mos("xp2", "pf", (6, 7))
    sheet.mos("xn1", "nf", (0, 4), "right", s="0")
    sheet.mos("xn2", "nf", (6, 4), s="0")
    for x, outer, way, own, dump, cross in (
        (0, -1, "left", ("xi1", "xp1", "xn1"), ("xr3", "xr1"), 5.75),
        (6, 1, "right", ("xi2", "xp2", "xn2"), ("xr4", "xr2"), 5.25),
    ):
        sheet.mos(dump[0], "nf", (x + 8.2 * outer, 4), way, g="ckn", s="0")
        sheet.mos(dump[1], "nf", (x + 3.8 * outer, 4), way, g="ckn", s="0")
        sheet.wire(f"{own[0]}.d", f"{own[1]}.s")
        sheet.wire((x, 8.25), (x + 8.2 * outer, 8.25), f"{dump[0]}.d")
        sheet.wire(f"{own[1]}.d", f"{own[2]}.d")
        sheet.wire(f"{own[1]}.g", f"{own[2]}.g")
        sheet.wire((x, cross), (x + 3.8 * outer, cross), f"{dump[1]}.d")
    sheet.wire((0, 5.75), (sheet.pins["xp2.g"][0], 5.75))
    sheet.wire((6, 5.25), (sheet.pins["xp1.g"][0], 5.25))
    sheet.name((-1.6, 8.25), "x1")
    sheet.name((7.6, 8.25), "x2")
    sheet.name((-1.5, 5.75), "om")
    sheet.name((7.5, 5.25), "op")
    sheet.gate("xa", "inv", (-2, 1), a="om", y="q")
    sheet.gate("xb", "inv", (5, 1), a="op", y="qb")
    return sheet


def amplifier() -> Sheet:
    sheet = Sheet("power_gated_amplifier", "power_gated_amplifier", well="va")
    sheet.mos("xt", "pf", (2.5, 7), g="enb", s="va")
    sheet.mos("x1", "pf", (0, 4.5), g="inp", bulk="t")
    sheet.mos("x2", "pf", (5, 4.5), "right", g="inn", bulk="t")
    sheet.wire("xt.d", (2.5, 5.75))
    sheet.wire("x1.s", (0, 5.75), (5, 5.75), "x2.s")
    sheet.name((1.2, 5.75), "t")
    sheet.mos("x3", "nf", (0, 1.5), "right", s="0")
    sheet.mos("x4", "nf", (5, 1.5), s="0")
    sheet.wire("x1.d", "x3.d")
    sheet.wire("x2.d", "x4.d")
    sheet.wire("x3.g", "x4.g")
    sheet.wire((0, 3), (2.2, 3), (2.2, 1.5))
    sheet.name((1.1, 3), "d")
    sheet.wire((5, 3), (6.5, 3))
    sheet.name((6.5, 3), "out", (1.0, 0.0))
    return sheet


def integrator() -> Sheet:
    sheet = Sheet("power_gated_integrator", "power_gated_integrator", well="vw")
    sheet.block("xa", "power_gated_amplifier", (16.6, 0), ["inn", "inp=vcm", "enb=enb", "va=va"], ["out"])
    sheet.cap("xcs", "cmom", (2, 0), (0, 0), b="l")
    sheet.mos("xs1", "nf", (3.2, -1.75), g="p1", s="zp")
    sheet.mos("xs2", "nf", (5, 0), "up", g="p2")
    sheet.wire("xcs.t", "xs2.d")
    sheet.wire((3.2, 0), "xs1.d")
    sheet.name((2.5, 0), "r")
    sheet.mos("xr1", "nf", (8, -1.75), g="init", s="vcm")
    sheet.mos("xj", "pf", (12.4, -1.75), g="vw")
    sheet.wire("xs2.s", "xa.inn")
    sheet.wire((8, 0), "xr1.d")
    sheet.wire((12.4, 0), "xj.s")
    sheet.wire("xj.d", (14.6, -2.5), (14.6, 0))
    sheet.name((6.5, 0), "x")
    sheet.cap("xci", "cmom", (10, 5), (12, 5))
    sheet.wire((9.2, 0), (9.2, 5), "xci.t")
    sheet.mos("xsh", "nf", (16.4, 5), "up-right", g="en")
    sheet.mos("xso", "nf", (21.4, 5), "up-right", g="en")
    sheet.mos("xsk", "nf", (19, 7), g="0", d="vw")
    sheet.mos("xr2", "nf", (13.8, 3.25), g="init", s="vcm")
    sheet.wire("xci.b", "xsh.s")
    sheet.wire((13.8, 5), "xr2.d")
    sheet.wire("xsh.d", "xso.s")
    sheet.wire((19, 5), "xsk.s")
    sheet.name((18.2, 5), "m")
    sheet.name((13, 5), "h")
    sheet.wire("xso.d", (23.2, 5), (23.2, 0), "xa.out")
    sheet.name((23.2, 0), "o", (1.0, 0.0))
    return sheet


def unit() -> Sheet:
    sheet = Sheet("power_gated_unit", "power_gated_unit")
    for row, compared, y, top, replica, way in (
        ("xra", "xca", 0.0, "a", "fa", "a"),
        ("xrb", "xcb", -5.25, "b", "fb", "b"),
    ):
        sheet.block(
            row,
            "power_gated_row",
            (0, y),
            [f"pre=z{way}", f"ref=ref{way}", "r=r", "vcm=vcm", "on=vd"],
            ["top", "f"],
        )
        sheet.block(
            compared,
            "power_gated_comparator",
            (6, y),
            ["inp", "inn", "ckn=ckn", "vt=vc", "vdd=vc"],
            ["q", "qb"],
        )
        sheet.wire(f"{row}.top", f"{compared}.inp")
        sheet.wire(f"{row}.f", f"{compared}.inn")
        sheet.name((4.25, y), top)
        sheet.name((4.25, y - 0.75), replica)
    sheet.block(
        "xl",
        "power_gated_limit",
        (6, -10.5),
        ["h=h", "up=up", "dn=dn", "pln=pln", "sm=sm", "pc=pc", "pcb=pcb", "vcm=vcm", "vdd=vd", "vc=vc"],
        ["q", "qb"],
    )
    sheet.block(
        "xc",
        "power_gated_control",
        (13, 0),
        ["qa", "qab", "en=en", "pb=pb", "pc=pc", "pcb=pcb", "vdd=vd", "qb", "qbb", "", "", "", "", "", "lq", "lqb"],
        ["l", "p1", "p2", "", "up=up", "dn=dn"],
    )
    for one, other, (x, y), net in (
        ("xca.q", "xc.qa", (11, 0), "qa"),
        ("xca.qb", "xc.qab", (11, -0.75), "qab"),
        ("xcb.q", "xc.qb", (11, -5.25), "qb"),
        ("xcb.qb", "xc.qbb", (11, -6), "qbb"),
        ("xl.q", "xc.lq", (11, -10.5), "lq"),
        ("xl.qb", "xc.lqb", (11, -11.25), "lqb"),
    ):
        sheet.wire(one, other)
        sheet.name((x, y), net)
    sheet.block(
        "xi",
        "power_gated_integrator",
        (20.5, 0),
        ["l", "p1", "p2", "zp=zp", "en=en", "enb=enb", "init=init", "vcm=vcm", "va=va", "vw=vw"],
        ["o=o", "h=h", "x=x", "r=rp"],
    )
    for place, net in enumerate(("l", "p1", "p2")):
        sheet.wire(f"xc.{net}", f"xi.{net}")
        sheet.name((18.25, -0.75 * place), net)
    return sheet


def layer() -> Sheet:
    sheet = Sheet("sequencer", "sequencer_layer", supply="vk")
    names = (("xd1", ["t1=c", "t2=pln"]), ("xd2", ["t1=g", "t2=h"]), ("xd3", ["t1=i", "t2=b"]))
    for place, (name, taps) in enumerate(names):
        sheet.block(name, "delay_pair", (6.5 * place, 0), ["a", "vs=vs"], ["b", *taps])
    sheet.name("xd1.a", "start", (-1.0, 0.0))
    sheet.wire("xd1.b", "xd2.a")
    sheet.wire("xd2.b", "xd3.a")
    sheet.name((4.75, 0), "s1")
    sheet.name((11.25, 0), "s2")
    sheet.name("xd3.b", "next", (1.0, 0.0))
    sheet.block("xr", "sequencer_rows", (0, -4), ["a=a", "vk=vk"], ["r=r", "e=e", "f=f"])
    sheet.block("xck", "falling", (0, -7.5), ["a=c", "vk=vk"], ["y=ckn"])
    # two inputs, then an inverter
    for first, second, y, ins, middle, out in (
        ("xenb", "xen", -4.0, ("g", "d2"), "enb", "en"),
        ("xpbb", "xpb", -6.0, ("h", "en"), "pbb", "pb"),
        ("xsmb", "xsm", -8.0, ("en", "rn"), "smb", "sm"),
    ):
        sheet.gate(first, "nand2", (7.5, y), a=ins[0], b=ins[1])
        sheet.gate(second, "inv", (10.2, y - 0.25), y=out)
        sheet.wire(f"{first}.y", f"{second}.a")
        sheet.name((9.9, y - 0.25), middle)
    chain = (("x1", "d1"), ("x2", "d"), ("xpcb", "pcb"), ("xpc", "pc"))
    for place, (name, net) in enumerate(chain):
        sheet.gate(
            name, "inv", (14.2 + 2.4 * (place % 2), -4.25 - 2 * (place // 2)), **({"a": "en"} if not place else {})
        )
        if place % 2:
            sheet.wire(f"{chain[place - 1][0]}.y", f"{name}.a")
            sheet.name((16.2, -4.25 - 2 * (place // 2)), chain[place - 1][1])
            sheet.name(f"{name}.y", net, (1.0, 0.0))
    sheet.name("xpcb.a", "d", (-1.0, 0.0))
    return sheet


def delay() -> Sheet:
    sheet = Sheet("sequencer", "delay_pair", well="vs", supply="vs")
    for x, devices in ((0.0, ("xp1", "xn1")), (4.5, ("xp2", "xn2"))):
        sheet.mos(devices[0], "pf", (x, 3.5), s="vs")
        sheet.mos(devices[1], "nf", (x, 0.5), s="0")
        sheet.wire(f"{devices[0]}.d", f"{devices[1]}.d")
        sheet.wire(f"{devices[0]}.g", f"{devices[1]}.g")
    sheet.name((sheet.pins["xp1.g"][0], 2), "a", (-1.0, 0.0))
    sheet.wire((0, 2), (sheet.pins["xp2.g"][0], 2))
    sheet.name((1.5, 2), "m")
    sheet.wire((4.5, 2), (6.2, 2))
    sheet.name((6.2, 2), "b", (1.0, 0.0))
    sheet.gate("x1", "inv", (9, 3), a="m", y="t1")
    sheet.gate("x2", "inv", (9, 1), a="b", y="t2")
    return sheet


def rows() -> Sheet:
    sheet = Sheet("sequencer", "sequencer_rows", supply="vk")
    for place, (name, net) in enumerate((("x1", "rb"), ("x2", "r"), ("x3", "rd"))):
        sheet.gate(name, "inv", (3 * place, 0))
        if place:
            sheet.wire((3 * place - 1.4, 0), f"{name}.a")
        if net != "rd":
            sheet.name((3 * place + 2.3, 0), net)
    sheet.name("x1.a", "a", (-1.0, 0.0))
    sheet.gate("xf", "nor2", (9, 0), b="e", y="f")
    sheet.gate("xe", "nor2", (9, -2), a="r", b="f", y="e")
    sheet.wire("x3.y", "xf.a")
    sheet.name((7.6, 0), "rd")
    return sheet


def begin() -> Sheet:
    sheet = Sheet("sequencer", "sequencer_begin", well="vs", supply="vs")
    sheet.gate("x0", "inv", (-1, 0), a="sleep", y="up")
    sheet.gate("xs", "nand2", (3.5, 0.0), a="strobe", b="up")
    sheet.mos("xp", "pf", (8.5, 1.25), s="vs")
    sheet.mos("xn", "nf", (8.5, -1.75), s="0")
    sheet.wire("xp.g", "xn.g")
    sheet.wire("xs.y", (sheet.pins["xp.g"][0], -0.25))
    sheet.name((6.2, -0.25), "s")
    sheet.wire("xp.d", "xn.d")
    sheet.wire((8.5, -0.25), (10, -0.25))
    sheet.name((10, -0.25), "start", (1.0, 0.0))
    sheet.gate("xa", "inv", (0, -4), a="start")
    sheet.gate("x1", "inv", (3, -4))
    sheet.wire("xa.y", "x1.a")
    sheet.name((2.3, -4), "a")
    sheet.gate("xse", "nor2", (6, -4), "vk", b="par")
    sheet.wire("x1.y", "xse.a")
    sheet.name((5, -4), "ab")
    sheet.gate("xseb", "inv", (9.5, -4.25), "vk", y="seb")
    sheet.wire("xse.y", "xseb.a")
    sheet.name((8.6, -4.25), "se")
    sheet.gate("xpar", "inv", (0, -6.5), "vk", a="d", y="par")
    return sheet


SHEETS: dict[str, Callable[[], Sheet]] = {
    "unit": unit,
    "comparator": comparator,
    "integrator": integrator,
    "amplifier": amplifier,
    "sequencer-layer": layer,
    "sequencer-begin": begin,
    "sequencer-rows": rows,
    "delay-pair": delay,
}


def main() -> int:
    """Draw all sheets; 1 if one differs from its netlist."""
    FOLDER.mkdir(exist_ok=True)
    wrong = 0
    for name, draw in SHEETS.items():
        sheet = draw()
        for line in differences(sheet):
            print(f"{name}: {line}", file=sys.stderr)
            wrong += 1
        sheet.finish()
        (FOLDER / f"{name}.svg").write_text(sheet.svg(), encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
