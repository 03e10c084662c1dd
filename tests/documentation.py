"""The pages of the documentation as data: code blocks, commands, links and headings of Markdown files."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SLOW_MARK = "<!-- slow -->"

_FENCE = re.compile(r"( *)(```+|~~~+) *([A-Za-z0-9_-]*)")
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*([^)\s]+)(?:\s+\"[^\"]*\")?\s*\)")
_CODE = re.compile(r"`[^`]*`")


@dataclass(frozen=True)
class Block:
    """A fenced code block: language, text, the number of its first line (from 1), and whether it is marked slow."""

    language: str
    text: str
    line: int
    slow: bool


def name(page):
    """What a failed test calls the page."""
    return str(page.relative_to(ROOT))


def blocks(markdown):
    """The fenced code blocks of a Markdown text, in order."""
    found, marked = [], False
    lines = iter(enumerate(markdown.splitlines(), 1))
    for number, line in lines:
        opening = _FENCE.fullmatch(line.rstrip())
        if opening is None:
            marked = line.strip() == SLOW_MARK or (marked and not line.strip())
            continue
        indent, fence, language = opening.groups()
        body = []
        for _, inner in lines:
            if inner.strip() == fence:
                break
            body.append(inner.removeprefix(indent))
        else:
            raise ValueError(f"the block that begins in line {number} has no end")
        found.append(Block(language, "".join(f"{text}\n" for text in body), number + 1, marked))
        marked = False
    return found


def prose(markdown):
    """A Markdown text without its code, so that what looks like a link in code is none."""
    kept, fence = [], None
    for line in markdown.splitlines():
        opening = _FENCE.fullmatch(line.rstrip())
        if fence is None and opening is not None:
            fence = opening[2]
        elif fence is not None and line.strip() == fence:
            fence = None
        elif fence is None:
            kept.append(line)
    return "\n".join(kept)


def links(markdown):
    """Destinations of the links and pictures in a Markdown text."""
    return _LINK.findall(_CODE.sub("``", prose(markdown)))


def anchors(markdown):
    """The anchors that GitHub gives to the headings of a Markdown text."""
    found = []
    for line in prose(markdown).splitlines():
        heading = re.fullmatch(r"#{1,6} +(.*?)(?: +#+)?", line)
        if heading is None:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        slug = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        repeats = found.count(slug)
        found.append(f"{slug}-{repeats}" if repeats else slug)
    return found


def commands(markdown):
    """The commands of the `sh` and `console` blocks of a Markdown text, as lists of words."""
    found = []
    for block in blocks(markdown):
        if block.language not in ("sh", "bash", "console"):
            continue
        text = block.text.replace("\\\n", " ")
        for line in text.splitlines():
            if block.language == "console" and not line.startswith("$ "):
                continue  # what the command printed
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while "&&" in words:
                cut = words.index("&&")
                found.append(words[:cut])
                words = words[cut + 1 :]
            found += [words] if words else []
    return found


def table_rows(markdown, heading):
    """The body rows of the first table below the heading, as lists of cells."""
    section = markdown.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]
