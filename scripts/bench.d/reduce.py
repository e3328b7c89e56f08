# SPDX-License-Identifier: GPL-2.0
"""Shared by scripts/bench.d/*.py: read what guests reported, reduce it to figures, judge
these, and write results/*.

Each of those is started by scripts/bench, with NAME=VALUE for what it was measured with.
A VALUE of several lines is a list.
"""
import functools
import os
import re
import subprocess
import sys

ROOT = os.environ["ROOT"]
BENCH = os.path.join(os.environ["BUILD"], "bench")
SETTINGS = dict(arg.split("=", 1) for arg in sys.argv[1:])

# The parts that have goals, and the title of each in README.md, in this order.
TITLES = {
    "secret": "Secret memory",
    "huge": "Guest memory in folios of 2 MB",
    "blocks": "Secret blocks",
    "asi": "Address Space Isolation",
    "fio": "Address Space Isolation: fio",
    "compile": "Address Space Isolation: a compiler",
    "tlb": "TLB model",
}

# What figures are.
INSNS = """\
Instructions under -icount, not hardware time. Each step of a `rep`
  instruction counts as one."""


def die(code, text):
    """Exit codes are those of scripts/lib.sh."""
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(code)


# --- settings -----------------------------------------------------------------

def setting(name):
    """As scripts/bench has it."""
    return SETTINGS[name]


def number(name):
    """A setting that is a number."""
    return int(SETTINGS[name])


def names(name):
    """A setting that is a list."""
    return SETTINGS[name].splitlines()


def pairs(name):
    """A setting that is a list of KEY=VALUE."""
    return dict(entry.split("=", 1) for entry in names(name))


# --- what guests reported -------------------------------------------------------

def left(name):
    """The lines of what a guest left: NAME.txt is its console."""
    path = os.path.join(BENCH, name)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\r\n") for line in file]
    except FileNotFoundError:
        return die(1, f"nothing was measured yet: no {path}")


@functools.cache
def reports(boot):
    """{tag: {key: [value...]}}, by scripts/guest/bench.sh."""
    found = {}
    for line in left(f"{boot}.txt"):
        words = line.split()
        if words[:1] != ["@@"] or words[1] == "start":
            continue
        tag = found.setdefault(words[1], {})
        for word in words[2:]:
            key, _, value = word.partition("=")
            tag.setdefault(key, []).append(value)
    return found


def values(boot, tag, key):
    """All that was reported. Stop here rather than print a figure made of nothing."""
    found = reports(boot).get(tag, {}).get(key)
    return found or die(1, f"guest {boot} did not report {key} of {tag}")


def get(boot, tag, key):
    """The only or last value, as it was reported."""
    return values(boot, tag, key)[-1]


def if_any(boot, tag, key, default=""):
    """The same where a kernel may not have it."""
    return reports(boot).get(tag, {}).get(key, [default])[-1]


def count(boot, tag, key):
    """The same, as a number."""
    return int(get(boot, tag, key))


def total(boot, tag, key):
    """Of all values; none is 0."""
    return sum(map(int, reports(boot).get(tag, {}).get(key, [])))


def middle(numbers):
    """The median; the lower one of two."""
    return sorted(numbers)[(len(numbers) + 1) // 2 - 1]


def median(boot, tag, key):
    """Of all values."""
    return middle([int(v) for v in values(boot, tag, key)])


def late(boot, tag, key, rounds):
    """The values of the second half of the rounds."""
    return [int(v) for v in values(boot, tag, key)[rounds // 2:]]


def late_insns(boot, tag, key, rounds, operations):
    """Instructions per operation: the median of the second half of the rounds. One
    instruction is two ticks."""
    return middle(late(boot, tag, key, rounds)) / 2 / operations


def per_page(boot, tag, key, pages):
    """Instructions per page."""
    return f"{late_insns(boot, tag, key, number('rounds'), pages):.1f}"


def ratio(a, b, digits=3):
    """Of numbers, or of what was written of them: a figure is the quotient of those that
    a table shows."""
    a, b = float(a), float(b)
    return f"{a / b if b else a * float('inf'):.{digits}f}"


def check_moved(boot, tag):
    """A page that stays or that is damaged on the way has no cost."""
    moved, pages, wrong = (count(boot, tag, key) for key in ("moved", "pages", "wrong"))
    if moved != pages or wrong:
        die(1, f"{boot}, {tag}: {moved} of {pages} pages moved, {wrong} wrong words")


# --- documents --------------------------------------------------------------------

def out(name):
    """The path of a result."""
    return os.path.join(setting("out"), name)


def save(path, lines):
    """Write a file of these lines."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def read(path):
    """Its lines."""
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def save_csv(name, columns, rows):
    """Write results/NAME.csv. Returns its rows, by column."""
    rows = list(rows)
    save(out(f"{name}.csv"), [",".join(row) for row in [columns, *rows]])
    return [dict(zip(columns, row)) for row in rows]


def read_csv(path):
    """Its rows, by column. No cell has a comma in it, but for the last one."""
    columns, *rows = (line for line in read(path) if not line.startswith("#"))
    columns = columns.split(",")
    return [dict(zip(columns, row.split(",", len(columns) - 1))) for row in rows]


def row(cells):
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table(head, align, rows):
    """A table, with an empty line before it. ALIGN has an l or r for each column."""
    return ["", row(head), row({"l": "---", "r": "--:"}[a] for a in align),
            *(row(cells.values() if isinstance(cells, dict) else cells) for cells in rows)]


def header(title, patched, unpatched=None, units=INSNS):
    """What every result begins with. PATCHED and UNPATCHED are guests."""
    kernels = f"Kernel: patched {get(patched, 'release', 'release')}"
    if unpatched:
        kernels = (f"Kernels: patched {get(patched, 'release', 'release')}, "
                   f"unpatched {get(unpatched, 'release', 'release')}")
    return [title, "",
            f"- Command: `{setting('command_line')}`",
            f"- {kernels}; {setting('qemu_version')}, TCG",
            f"- {units}", ""]


def picture(name):
    """Shows a plot in a document."""
    return [f"![{name}, as bars]({name}.svg)", ""]


def plot(name):
    """results/NAME.svg, from NAME.csv."""
    command = [os.path.join(ROOT, "scripts/plot"), "--dir", setting("out"), name]
    if subprocess.run(command, check=False).returncode:
        die(1, f"no plot of {name}")


# --- goals --------------------------------------------------------------------------

class Goals:
    """What is wanted of figures, and what they are."""

    def __init__(self):
        self.rows = []
        self.missed = []

    def judge(self, what, value, wanted, *, least=float("-inf"), most=float("inf")):
        """WANTED says what LEAST and MOST are."""
        reached = self.aim(what, value, wanted, least=least, most=most)
        if not reached:
            self.missed.append(f"missed: {what}: {value}, wanted {wanted}")

    def aim(self, what, value, wanted, *, least=float("-inf"), most=float("inf")):
        """As judge, but known to be missed."""
        reached = least <= float(value) <= most
        self.rows.append(row([what, str(value), wanted, "yes" if reached else "no"]))
        return reached

    def note(self, what, value):
        """Of what nothing is wanted."""
        self.rows.append(row([what, str(value), "–", "–"]))

    def save(self, part, patched, unpatched=None, units=INSNS):
        """For scripts/bench: the part of README.md, and what was missed."""
        save(os.path.join(BENCH, f"{part}.goals"),
             [*header(f"## {TITLES[part]}", patched, unpatched, units),
              "| figure | measured | wanted | reached |", "|---|--:|---|---|", *self.rows])
        save(os.path.join(BENCH, f"{part}.missed"), self.missed)
