# SPDX-License-Identifier: GPL-2.0
"""What Address Space Isolation might cost on hardware: from tlb.csv, asi.csv, fio.csv and
compile.csv, with the costs of bench/model.csv."""
import dataclasses
import os
import re

import reduce
from reduce import out, read_csv

# Columns of bench/model.csv.
CPUS = ["spr_low", "spr_high", "zen4_low", "zen4_high"]


@dataclasses.dataclass
class Misses:
    """Of a TLB, more with asi=on: hits of the second level, walks, and the entries that
    walks read."""
    hits: float
    walks: float
    entries: float


@dataclasses.dataclass
class Operation:
    """What is known of one; but for returns, of what asi=on has more. PARKED are pages
    that are new to the window, and stay. MISSES are without PCIDs and with: empty where no
    model of a TLB counted them."""
    # pylint: disable=too-many-instance-attributes
    what: str
    bytes: int  # that it copies or zeroes
    insns_off: float
    insns_on: float
    exits: float
    cr3: float
    flushed: float
    parked: float
    shootdowns: float
    misses: tuple = ()
    # With asi=off: of functions, and to user mode.
    returns: float = 0
    to_user: float = 0


# --- inputs ---------------------------------------------------------------------

def bytes_of(what):
    """What an operation copies and zeroes."""
    for pattern, size in ((r"(read|write) 64", 65536), (r"pipe \+|KB to a pipe", 8192),
                          (r"anonymous|copy of|(read|write) 4", 4096)):
        if re.search(pattern, what):
            return size
    return 0


def tlb_inputs():
    """Of what tlb.csv has."""
    def misses(more, prefix):
        walks = more(f"{prefix}walks_data") + more(f"{prefix}walks_code")
        hits = more(f"{prefix}l1_data") + more(f"{prefix}l1_code") - walks
        return Misses(round(hits, 3), round(walks, 3), round(more(f"{prefix}levels"), 3))

    for r in read_csv(out("tlb.csv")):
        def more(column, r=r):
            return float(r[f"{column}_on"]) - float(r[f"{column}_off"])

        yield Operation(r["what"], bytes_of(r["what"]), float(r["insns_off"]),
                        float(r["insns_on"]), float(r["exits"]), round(more("cr3"), 3),
                        round(more("invlpg"), 3), 0, float(r["shootdowns"]),
                        (misses(more, ""), misses(more, "pcid_")),
                        float(r["returns_off"]), float(r["to_user_off"]))


def asi_inputs():
    """Of what asi.csv has."""
    for r in read_csv(out("asi.csv")):
        if "pages_flushed" not in r:
            reduce.die(3, "no pages_flushed in asi.csv; run scripts/bench --only asi")
        yield Operation(r["work"], bytes_of(r["work"]),
                        *(float(r[column]) for column in ("off", "on", "exits_fault", "cr3_added",
                                                          "pages_flushed", "parked",
                                                          "shootdowns")))


def fio_inputs():
    """Of what fio.csv and compile.csv have."""
    for r in read_csv(out("fio.csv")):
        if r["jobs"] != "1":
            continue
        what = f"fio: {r['fs']} {r['job']}"
        size = 65536 if "64k" in r["job"] else 4096
        events = [float(r[column])
                  for column in ("exits_per_io_on", "cr3_on", "flushed_on", "parked_on")]
        yield Operation(what, size, float(r["call_off"]), float(r["call_on"]), *events, 0)
        if r["job"] == "randread-4k":
            yield Operation(f"{what} with fio", size, float(r["off"]), float(r["on"]), *events, 0)
    value = {r["what"]: float(r["value"]) for r in read_csv(out("compile.csv"))}
    yield Operation("building a program", 0, value["insns_off"], value["insns_on"],
                    value["exits_fault"], value["exits_fault"] + value["enters"],
                    value["window_flushed"], value["parked"], value["flushes"])


def inputs():
    """All operations: those of asi.csv that are in tlb.csv as well, by the latter."""
    found = {}
    if os.path.exists(out("tlb.csv")):
        found = {operation.what: operation for operation in tlb_inputs()}
    for operation in asi_inputs():
        found.setdefault(operation.what, operation)
    return [*found.values(), *fio_inputs()]


# --- the model ------------------------------------------------------------------

def tlb_cost(cost, misses):
    """What the TLB takes, by what was counted."""
    read = misses.entries if cost["entries that a walk reads"] else misses.walks
    return misses.hits * cost["hit of the second-level TLB"] + \
        misses.walks * cost["hit of the second-level TLB"] + \
        read * cost["entry of a page table that is read"]


def percent(cost, operation, instead):
    """By which an operation takes longer, with these costs. A step of "rep" was counted as
    an instruction for 8 bytes: taken away again. Cheap instructions make what is not one
    weigh more: they go with high costs. What the TLB takes: what was counted, the lesser
    with low costs and the greater with high ones; or, where nothing was counted, one
    translation for each page that was mapped, to be flushed or to stay. INSTEAD: see
    main()."""
    insn = cost["instructions"]
    off = (operation.insns_off - operation.bytes / 8) / insn + \
        operation.bytes / cost["copying and zeroing"]
    exit_ = cost["page fault and IRET"] + cost["IBPB at an exit"] + cost["VERW after an exit"]
    more = (operation.insns_on - operation.insns_off) / insn + \
        operation.cr3 * cost["write to CR3 that keeps the TLB"]
    more += operation.flushed * cost["INVLPG"] + operation.exits * exit_ + \
        operation.shootdowns * cost["shootdown by IPI"]
    if operation.misses:
        choose = max if cost["entries that a walk reads"] else min
        more += choose(tlb_cost(cost, misses) for misses in operation.misses)
    else:
        more += (operation.flushed + operation.parked) * cost["translation that is read again"]
    if instead:
        others = operation.returns * cost["return of a function with safe-ret"] + \
            operation.to_user * cost["VERW after an exit"]
        off += others
        more -= others
    return f"{more / off * 100:.1f}"


def model(name, costs, operations, instead=False):
    """Write results/NAME.csv, for both CPUs, least and most."""
    by_cpu = [{r["what"]: float(r[cpu]) for r in costs} for cpu in CPUS]
    return reduce.save_csv(name, ["what", *CPUS], [
        [operation.what, *(percent(cost, operation, instead) for cost in by_cpu)]
        for operation in operations])


def main():
    """Both tables, and a plot of the first. In the second ASI is there instead of two
    mitigations, a safe return for each of the kernel's and VERW on each way to user mode,
    which only asi=off has then: of what these were counted for."""
    costs = read_csv(os.path.join(reduce.ROOT, "bench/model.csv"))
    operations = inputs()
    rows = model("model", costs, operations)
    instead = model("model-instead", costs, [o for o in operations if o.misses], True)
    reduce.save(out("model.md"), [
        "# What Address Space Isolation might cost on hardware",
        "",
        "Not measured: a model, explained in",
        "Documentation/arch/x86/asi.rst. Made from tlb.csv, or asi.csv for what it",
        "has not, fio.csv and compile.csv, with the costs of bench/model.csv, by",
        "`scripts/bench --only model`. How much longer an operation takes",
        "with asi=on, in percent of asi=off.",
        "",
        *reduce.picture("model")[:-1],
        *reduce.table(["operation", "Sapphire Rapids: least", "most", "Zen 4: least", "most"],
                      "lrrrr", rows),
        "",
        "The same if ASI were there instead of other mitigations: asi=on without",
        "them, in percent of asi=off with them. These are, for what Zen 4 has, a safe",
        "return (SRSO) wherever a function of the kernel returns, and VERW (TSA) on",
        "each way to user mode: counted is how often, with asi=off. Both are left out",
        "of the first table. Not left out with asi=on are the flushes at its exits.",
        "Sapphire Rapids has neither, and what it has instead costs nothing here (BHI_DIS_S,",
        "enhanced IBRS), so that nothing can be left out. ASI does not replace them",
        "now: whether it can is a question of what it leaves mapped.",
        *reduce.table(["operation", "Sapphire Rapids: low costs", "high", "Zen 4: low costs",
                       "high"], "lrrrr", instead),
        *reduce.table(["cost", "unit", "Sapphire Rapids", "Zen 4", "source"], "llrrl",
                      [[r["what"], r["unit"], f"{r['spr_low']} to {r['spr_high']}",
                        f"{r['zen4_low']} to {r['zen4_high']}", r["source"].replace('"', "")]
                       for r in costs]),
    ])
    reduce.plot("model")


main()
