# SPDX-License-Identifier: GPL-2.0
"""SVG for scripts/figures and scripts/plot: a few shapes, one look.

The background is white, so that a dark viewer shows the same picture. The font is the
viewer's own sans-serif: texts need a fifth more room than they seem to take.
"""
from html import escape

INK, MUTED, RULE = "#1f2933", "#5f6b76", "#c8ced4"
# name: (fill, border)
COLOURS = {
    "kernel": ("#e3eef7", "#1b6ca8"),
    "secret": ("#fbe3e4", "#b3303f"),
    "user": ("#e2f1e7", "#2f7d53"),
    "map": ("#fdf0d2", "#a8741a"),
    "none": ("#ffffff", "#8a949e"),
    "grey": ("#eef0f2", "#8a949e"),
}
STYLE = """\
text { font-family: sans-serif; font-size: 13px; fill: %s }
.title { font-size: 16px; font-weight: bold }
.head { font-weight: bold }
.small { font-size: 11.5px }
.muted { fill: %s }
.mono { font-family: monospace; font-size: 12px }
.middle { text-anchor: middle }
.end { text-anchor: end }
.line { stroke: %s; stroke-width: 1.3; fill: none }
.dash { stroke-dasharray: 5 4 }
.rule { stroke: %s; stroke-width: 1 }
""" % (INK, MUTED, INK, RULE)


def number(x):
    """As few digits as it takes."""
    return ("%.1f" % x).rstrip("0").rstrip(".")


class Svg:
    def __init__(self, width, height, title, text):
        self.size = width, height
        self.title = title
        self.parts = ["<title>%s</title>" % escape(title),
                      "<desc>%s</desc>" % escape(text)]

    def add(self, part):
        self.parts.append(part)

    def rect(self, x, y, w, h, colour="none", dash=False, round_=4, border=True):
        fill, edge = COLOURS.get(colour, (colour, colour))
        self.add('<rect x="%s" y="%s" width="%s" height="%s" rx="%s" fill="%s"%s%s/>' % (
            number(x), number(y), number(w), number(h), number(round_), fill,
            ' stroke="%s" stroke-width="1.3"' % edge if border else "",
            ' class="dash"' if dash else ""))

    def text(self, x, y, text, *classes):
        self.add('<text x="%s" y="%s"%s>%s</text>' % (
            number(x), number(y),
            ' class="%s"' % " ".join(classes) if classes else "", escape(text)))

    def lines(self, x, y, texts, *classes, step=17):
        """Texts below each other; the first line's classes are those given."""
        for i, text in enumerate(texts):
            self.text(x, y + i * step, text, *classes)

    def box(self, x, y, w, h, texts, colour="none", dash=False, small=False):
        """A box with centred texts. One that begins with ! is bold, with ~ muted,
        with = monospaced."""
        self.rect(x, y, w, h, colour, dash)
        step = 15 if small else 17
        top = y + h / 2 - step * (len(texts) - 1) / 2 + 4.5
        marks = {"!": "head", "~": "muted", "=": "mono"}
        for i, text in enumerate(texts):
            classes = ["middle"] + (["small"] if small else [])
            while text[:1] in marks:
                classes.append(marks[text[0]])
                text = text[1:]
            self.text(x + w / 2, top + i * step, text, *classes)

    def line(self, *points, dash=False, arrow=True, both=False, rule=False):
        path = "M" + " L".join("%s %s" % (number(x), number(y)) for x, y in points)
        self.add('<path d="%s" class="%s"%s%s/>' % (
            path, "rule" if rule else "line dash" if dash else "line",
            ' marker-end="url(#arrow)"' if arrow and not rule else "",
            ' marker-start="url(#arrow)"' if both else ""))

    def __str__(self):
        width, height = self.size
        return "\n".join([
            '<?xml version="1.0" encoding="UTF-8"?>',
            "<!-- SPDX-License-Identifier: GPL-2.0 -->",
            '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d"'
            ' viewBox="0 0 %d %d">' % (width, height, width, height),
            "<style>", STYLE.rstrip("\n"), "</style>",
            '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5"'
            ' markerWidth="8" markerHeight="8" orient="auto-start-reverse">'
            '<path d="M0 0 L10 5 L0 10 z" fill="%s"/></marker></defs>' % INK,
            '<rect width="%d" height="%d" fill="#ffffff"/>' % (width, height),
            '<text x="%d" y="28" class="title">%s</text>' % (20, escape(self.title)),
            *self.parts, "</svg>", ""])
