# SPDX-License-Identifier: GPL-2.0
"""What Address Space Isolation costs a compiler."""
import itertools
import re

import reduce
from reduce import count, get, if_any, ratio, setting

# What was counted in both, and its name in the table.
COUNTERS = {
    "processes": "processes",
    "ctxt": "context switches",
    "pgfault": "page faults",
    "exits_fault": "exits by a fault",
    "exits_switch": "exits to init_mm",
    "switches": "switches of mm without an exit",
    "parked": "pages parked in the window",
    "hits": "copies from parked pages",
    "window_flushed": "pages flushed one by one",
}


def insns(kind):
    """Of all of it."""
    return ratio(get(f"compile-{kind}", "compile", "tsc"), 2, 0)


def counted(key):
    """With asi=on."""
    return get("compile-on", "compile", key)


def exits(mark):
    """The first rows of what scripts/guest/bench-compile.sh lists under this mark."""
    found = (re.match(f"@{mark} ([0-9]*) (.*)", line) for line in reduce.left("compile-on.txt"))
    return [match.groups() for match in itertools.islice(filter(None, found), 15)]


def write(on_off, per_switch):
    """compile.csv, compile.md"""
    reduce.save_csv("compile", ["what", "value"], [
        ["insns_off", insns("off")], ["insns_on", insns("on")], ["ratio", on_off],
        *([key, counted(key)] for key in ("exits_fault", "exits_switch", "enters", "switches",
                                          "switches_mm", "ctxt", "processes", "pgfault",
                                          "flushes", "parked", "hits", "window_flushed")),
        ["exits_per_switch", per_switch]])
    reduce.save(reduce.out("compile.md"), [
        *reduce.header("# What Address Space Isolation costs a compiler", "compile-on"),
        f"`make -j2` of two programs of bench/ ({setting('lines')} lines, and the",
        f"system's headers) with {setting('compiler')} -O2, in a guest",
        "with one CPU. Compiler, headers, sources and objects are on ext4, and",
        f"all that is read has been read before. With {setting('WORDS')}.",
        *reduce.table(["", "asi=off", "asi=on"], "lrr", [
            ["instructions", insns("off"), insns("on")],
            ["compared with asi=off", "1", on_off],
            # Without ASI it counts nothing.
            *([what, if_any("compile-off", "compile", key), counted(key)]
              for key, what in COUNTERS.items())]),
        "",
        f"From one mm to another it switched {counted('switches_mm')} times (counted in a",
        f"build with tracing): {per_switch} exits by a fault to each.",
        "",
        "Where the restricted address space was left:",
        *reduce.table(["exits", "instruction"], "rl", exits("exits")),
        "",
        "And by whom, in a build with tracing, with what tracing needs:",
        *reduce.table(["exits", "called by"], "rl", exits("stack")),
    ])


def main():
    """The table, then goals."""
    # Time that nobody runs would be taken for instructions.
    for boot in "compile-off", "compile-on":
        idle = count(boot, "compile", "idle")
        if idle > 1:
            reduce.die(1, f"{boot}: the CPU was idle: {idle} ticks")
    on_off = ratio(insns("on"), insns("off"), 4)
    per_switch = ratio(counted("exits_fault"), counted("switches_mm"))
    write(on_off, per_switch)
    goals = reduce.Goals()
    goals.judge("building a program, asi=on / asi=off: instructions", on_off, "at most 1.05",
                most=1.05)
    goals.aim("the same", on_off, "at most 1.01", most=1.01)
    goals.judge("building a program: exits per switch of mm", per_switch, "at most 1", most=1)
    goals.save("compile", "compile-on")


main()
