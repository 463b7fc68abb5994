"""YAML as people write it and as nobody does, drawn by chance: nested blocks, brackets, quotes, comments."""

from __future__ import annotations

from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PLAIN = _words("yes on no 1e3 0o7 0x1F 2026-01-01 12:30 ~ null true x:y << -1.50 1_000 .5 5. = é☃😀")
QUOTED = (
    *('"yes"', "'on'", '"1"', "'a: b'", '"a # b"', '"{{ x }}"', "'say \"hi\"'", "'it''s'", '"a\\nb"', '"tab\\t"'),
    *('"\\u2028"', "''", '""', "'- x'", "'a,b'", '"a]"', '"\\d"', '"x:"', '"null"', "' x '", "'{'"),
)
BLOCK_ONLY = ("x y", "a #b", "-x", "a,b", "", "null # c", "a [b]")
MARKED = ("*a1", "&a1 v", "&a2", "*a2", "!!str 12", "! x")
KEYS = (
    *_words("description model params inputs steps outputs test compile a b prompt instructions output no 1 << type"),
    *_words("value step assert tools demos"),
    *("'k'", '"yes"', '"a: b"', "? x"),
)
COMMENTS = ("# c", "# d e", "#x", "# - y: z", "# 'q", "# {")


def text(random: Random) -> str:
    """A text that may be YAML."""
    rows: list[str] = []
    _Drawing(random, rows).block(0, 0)
    return "\n".join(rows) + random.choice(["\n", "", "\n\n", "\n# end\n", "\n# end"])


class _Drawing:
    def __init__(self, random: Random, rows: list[str]) -> None:
        self.random = random
        self.rows = rows

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def comment(self) -> str:
        gap = self.random.choice(["  ", " ", "      "])
        return gap + self.random.choice(COMMENTS) if self.chance(0.2) else ""

    def brackets(self, depth: int) -> str:
        if depth > 2 or self.chance(0.4):
            return self.random.choice([*PLAIN, *QUOTED, *MARKED])
        mapping = self.chance(0.4)
        items = []
        for _ in range(self.random.randint(0, 3)):
            key = f"{self.random.choice(KEYS[:-1])}: " if mapping else ""
            items.append(f"{self.space()}{key}{self.brackets(depth + 1)}{self.space()}")
        return ("{%s}" if mapping else "[%s]") % ",".join(items)

    def space(self) -> str:
        return self.random.choice(["", " ", " ", " ", "\n      ", "  # f\n      "])

    def block(self, indent: int, depth: int) -> None:
        mapping = depth == 0 or self.chance(0.7)
        used: set[str] = set()
        for _ in range(self.random.randint(1, 4)):
            self.between(indent)
            key = self.random.choice(KEYS)
            if not mapping:
                self.entry(" " * indent + "-", indent, depth)
            elif key not in used:
                self.entry(" " * indent + key + ":", indent, depth)
            used.add(key)

    def between(self, indent: int) -> None:
        while self.chance(0.25):
            comment = self.random.choice(COMMENTS)
            odd = " " * self.random.randint(0, 8)
            self.rows.append(self.random.choice(["", " " * indent + comment, odd + comment, "   "]))

    def entry(self, head: str, indent: int, depth: int) -> None:
        kind = self.random.choice(["scalar", "scalar", "brackets", "literal", "lines", "block", "block", "block"])
        if kind == "scalar" or depth > 3:
            self.rows.append(f"{head} {self.random.choice([*PLAIN, *QUOTED, *BLOCK_ONLY, *MARKED])}{self.comment()}")
        elif kind == "brackets":
            self.rows.append(f"{head} {self.brackets(0)}{self.comment()}")
        elif kind == "literal":
            self.literal(head, indent)
        elif kind == "lines":
            self.lines(head, indent)
        else:
            self.rows.append(f"{head}{self.random.choice(['', '', ' &c1'])}{self.comment()}")
            self.block(indent + self.random.choice([1, 2, 2, 3, 4]), depth + 1)

    def literal(self, head: str, indent: int) -> None:
        style = self.random.choice("|>") + self.random.choice(["", "-", "+", "2", "1", "4-", "2+"])
        self.rows.append(f"{head} {self.random.choice(['', '&b1 '])}{style}{self.comment()}")
        for _ in range(self.random.randint(0, 4)):
            row = self.random.choice(["text", "a: b", "# no", "", "  x", "\tt", "end  "])
            self.rows.append(" " * (indent + self.random.choice([2, 2, 2, 3, 4, 5])) + row if self.chance(0.8) else "")

    def lines(self, head: str, indent: int) -> None:
        quote = self.random.choice(["", "'", '"'])
        self.rows.append(f"{head} {quote}some text")
        for _ in range(self.random.randint(0, 2)):
            row = self.random.choice(["more", "and more", "", 'x y \\"' if quote == '"' else "z"])
            self.rows.append(" " * (indent + self.random.choice([1, 2, 5])) + row)
        self.rows.append(" " * (indent + 2) + "end" + quote + self.comment())
