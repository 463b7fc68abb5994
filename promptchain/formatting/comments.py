"""Which comment belongs to what: to what it stands beside, or to what follows it; one that is indented deeper than what
follows, to the end of what it is indented with. So it goes along when its key moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from promptchain.formatting.nodes import Comment, Entry, Node


def assign(root: Node, comments: list[Comment], empty: set[int]) -> list[str]:
    """Give each comment of a document to what it belongs to; returns those over all of it. empty: the lines (from 0)
    that set apart what stands above them."""
    return _Assigning(root, comments, empty).assign()


@dataclass(slots=True)
class _Place:
    """An entry, and the collections around it from the outside in, each with the entry whose value it is."""

    entry: Entry
    around: tuple[Node, ...]
    owners: tuple[Entry | None, ...]


class _Assigning:
    """Gives each comment of a document to what it belongs to."""

    def __init__(self, root: Node, comments: list[Comment], empty: set[int]) -> None:
        self.root = root
        self.comments = comments
        self.empty = empty
        self.places = list(_places(root, (), (None,)))

    def assign(self) -> list[str]:
        """Fill `above`, `beside` and `tail`; returns the comments over all of the document."""
        over: dict[int, list[Comment]] = {}
        number = 0  # of the first place behind the comment
        for comment in self.comments:
            while number < len(self.places) and self.places[number].entry.at < comment.at:
                number += 1
            if not comment.own and (entry := self._beside(comment, number)):
                entry.beside.append(comment)
            elif (owner := None if number in over else self._tail(comment, number)) is not None:
                owner.tail += self._told(comment)
            else:
                over.setdefault(number, []).append(comment)
        self.root.tail += [line for comment in over.pop(len(self.places), ()) for line in self._told(comment)]
        for number, place in enumerate(self.places):
            lines = [line for comment in over.get(number, ()) for line in self._told(comment)]
            entry = place.entry
            entry.above = lines + self._blank(entry.line)
        return self._split_head()

    def _told(self, comment: Comment) -> list[str]:
        return [*self._blank(comment.line), comment.text]

    def _blank(self, line: int) -> list[str]:
        return [""] if line - 1 in self.empty else []

    def _beside(self, comment: Comment, number: int) -> Entry | None:
        """The entry on whose line it stands: the last that began before it, in what is not closed before it."""
        if not number:
            return None
        place = self.places[number - 1]
        closed = (node.flow and node.end <= comment.at for node in place.around)
        return next((owner for owner, end in zip(place.owners, closed, strict=True) if end), place.entry)

    def _tail(self, comment: Comment, number: int) -> Node | None:
        """The collection at whose end it stands; None where it is about what follows."""
        following = self.places[number] if number < len(self.places) else None
        around = following.around if following else ()
        before = self.places[number - 1] if number else None
        opened = (*before.around, before.entry.value) if before else ()
        for node in reversed(opened):
            if node.flow and node.at < comment.at < node.end:
                return None if node in around else node
        if following is None and comment.column == 0:
            return self.root
        if following and comment.column <= following.entry.column:
            return None
        for node in reversed(opened):
            closed = node not in around and not node.flow and bool(node.entries)
            if closed and node.entries[0].column <= comment.column:
                return node
        return None

    def _split_head(self) -> list[str]:
        """Take what is about all of the file from over the first entry: all of it, or what an empty line sets apart."""
        first = self.root.entries[0]
        above = first.above
        while above and not above[0]:
            del above[0]
        ends = [number for number, line in enumerate(above) if not line]
        cut = ends[-1] if ends else len(above)
        first.above = above[cut:] if any(above[cut:]) else []
        return above[: cut + 1]


def _places(node: Node, around: tuple[Node, ...], owners: tuple[Entry | None, ...]) -> Iterator[_Place]:
    around = (*around, node)
    for entry in node.entries:
        yield _Place(entry, around, owners)
        yield from _places(entry.value, around, (*owners, entry))
