# SPDX-License-Identifier: GPL-2.0
"""Put what the parts that ran found into results/README.md. What else is in it stays."""
import os

import reduce


def sections(path):
    """{title: lines}: what begins with "## ", in this order."""
    found = {}
    title = None
    for line in reduce.read(path) if os.path.exists(path) else []:
        if line.startswith("## "):
            title = line[3:]
        elif line.startswith("Tables: "):
            title = None
        if title is not None:
            found.setdefault(title, []).append(line)
    return found


def text_of(lines):
    """A paragraph: an empty line after it, none without it."""
    text = "\n".join(lines).rstrip("\n")
    return [text, ""] if text else []


def main():
    """Notes first, then goals in the order of their parts."""
    path = reduce.out("README.md")
    there = sections(path)
    parts = reduce.names("parts")
    lines = ["# Figures and goals", ""]
    lines += text_of(sum((text for title, text in there.items()
                          if title not in reduce.TITLES.values()), []))
    for part, title in reduce.TITLES.items():
        lines += text_of(reduce.left(f"{part}.goals") if part in parts else there.get(title, []))
    reduce.save(path, [
        *lines,
        "Tables: [demo](demo.md), [migration](migration.md), [fault](fault.md), "
        "[profile](profile.md), [guest_memfd](guest_memfd.md), "
        "[2 MB](huge.md), [blocks](blocks.md), "
        "[asi](asi.md), [fio](fio.md), "
        "[compile](compile.md), [tlb](tlb.md), [model](model.md). Plots: *.svg. Data: *.csv.",
    ])


main()
