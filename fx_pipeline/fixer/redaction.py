"""Replaces a secret in a response, in any encoding in which a server repeats it.

A body is decoded step by step, as a reader might: charset, then percent-encoding, HTML entities and escapes,
in any order and depth, then base64 and hexadecimal. Each decoded character remembers its place in the body,
so that exactly the encoded secret is replaced.
"""

import codecs
import re
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from typing import TypeAlias

REDACTED = "***"

SHORTEST_SECRET = 8
"""Minimum length of a secret to find it inside words, in any case and split by white space.

Shorter secrets, which no provider issues, are found only as whole words: they would match everywhere.
"""

DEEPEST = 12
"""Maximum layers of escapes to decode. A body with more is dropped."""

DEEPEST_PACKED = 3
"""Maximum layers of base64 to decode. Text with more is dropped."""

LARGEST = 2**19
"""Maximum bytes of a body with escapes. A larger one is dropped. Plain JSON may have any size."""

_Span: TypeAlias = tuple[int, int]
_Views: TypeAlias = Iterator[tuple[str, list[int]]]

# Line breaks, controls, soft hyphens and zero-width marks, which may occur inside a word; and white space.
_BREAK = (
    "\n\r\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufffd"
)
_BREAKS = re.compile(f"[{_BREAK}]+")
_BLANKS = re.compile(f"[{_BREAK}\\s]+")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]+")
_ESCAPES = re.compile(
    # One character each; a non-ASCII character may take several.
    r"%u[0-9A-Fa-f]{4}|%[0-7][0-9A-Fa-f]|(?:%[89A-Fa-f][0-9A-Fa-f])+"
    r"|&(?:\#0*[0-9]{1,7}|\#[xX]0*[0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?"
    r"|\\u[0-9A-Fa-f]{4}|\\u\{0*[0-9A-Fa-f]{1,6}\}|\\U[0-9A-Fa-f]{8}"
    r"|\\x[0-7][0-9A-Fa-f]|(?:\\x[89A-Fa-f][0-9A-Fa-f])+|\\[01][0-7]{2}|(?:\\[23][0-7]{2})+"
    # Any other character after a backslash means itself, unless another kind of escape begins with it.
    r"|\\0|\\[!-$'-/8-TV-tvwyz-~]"
)
_ESCAPED_LINE_BREAKS = re.compile(r"\\[nr]")
_DIGITS = re.compile("[0-9A-Fa-f]+")
_QUOTED_PRINTABLE = re.compile(r"=(?:\r?\n|[0-9A-Fa-f]{2})")
_HEX_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(?:[ :,+-][0-9A-Fa-f]{2}){7,}")

_COMPRESSED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_ZLIB_OR_GZIP = 47
"""The window size with which zlib detects either header."""

_PLAIN = bytes(range(0x20, 0x7F)).translate(None, b"%&=\\") + b"\t\n\r"
_WITHOUT_COMMAS = str.maketrans("", "", " :,+-")
_FOLD = bytes(range(256)).lower()
_RUN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_AS_RUN = bytes(0x61 if byte in _RUN else 0x20 for byte in range(256))
_AS_PAIRS = bytes(
    0x68 if byte in b"0123456789abcdefABCDEF" else 0x2E if byte in b" :,+-" else 0x21 for byte in range(256)
)


class Redactor:
    """Replaces each form of `secret`, which is printable ASCII, in a body."""

    def __init__(self, secret: str) -> None:
        self._long = len(secret) >= SHORTEST_SECRET
        # Includes the decoded forms of the secret itself, if parts of it look like escapes.
        views = [secret, *(view for view, _ in _decoded(secret, _places(secret), _ESCAPES))]
        views = [view for view in views if 2 * len(_BLANKS.sub("", view)) >= len(secret)]
        self._forms = [_BLANKS.sub("", view).lower() for view in views]
        self._folded = secret.lower().encode()
        self._run = b"a" * ((4 * len(secret) + 2) // 3)
        letter = "[A-Za-z0-9+/_-]"
        self._runs = re.compile(
            f"{letter}(?:[{_BREAK}]*{letter}){{{len(self._run) - 1},}}(?:[{_BREAK}]*=){{0,2}}"
        )
        if self._long:
            self._secret = re.compile("|".join(map(_split_anywhere, views)), re.IGNORECASE)
        else:
            self._secret = re.compile(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])")

    def redact(self, body: bytes) -> bytes:
        """Return `body` with `***` in place of each form of the secret.

        Text without it is returned unchanged. Bytes that are not text are removed: their meaning is unknown.
        """
        if self._is_clean(body):
            return body
        if len(body) > LARGEST:
            return f"({len(body)} bytes, too many to be searched for the access key: not kept)".encode()
        text = _text_of(body)
        spans = _merged(self._found_in(text.content, depth=0))
        if not spans and text.is_whole:
            return body
        parts, end = [], 0
        for start, stop in spans:
            parts += [text.content[end:start], REDACTED]
            end = stop
        return "".join([*parts, text.content[end:]]).encode(text.codec)

    def _is_clean(self, body: bytes) -> bool:
        """Return whether a body certainly has no form of the secret, as found within a few microseconds."""
        if body.translate(None, _PLAIN):
            return False  # escapes, or not ASCII
        if self._folded in body.translate(_FOLD, b" \t\n\r"):
            return False
        in_one_line = body.translate(None, b"\r\n")
        return not (self._long and (self._has_run(in_one_line) or _has_pairs(in_one_line)))

    def _has_run(self, text: bytes) -> bool:
        return self._run in text.translate(_AS_RUN)

    def _found_in(self, text: str, depth: int) -> Iterator[_Span]:
        """Yield where the text has the secret, in any encoding."""
        places = _places(text)
        chains: list[_Views] = [iter([(text, places)]), _decoded(text, places, _ESCAPES)]
        if _ESCAPED_LINE_BREAKS.search(text):
            # A line may end inside an escape. Its own end is then an escape of the same layer.
            chains.append(_decoded(*_replaced(text, places, _ESCAPED_LINE_BREAKS, lambda _: ""), _ESCAPES))
        if "=" in text:
            unquoted = _replaced(text, places, _QUOTED_PRINTABLE, _meaning)
            chains += [iter([unquoted]), _decoded(*unquoted, _ESCAPES)]
        for chain in chains:
            layers = 0
            for view, starts in chain:
                layers += 1
                for start, stop in self._found_in_view(view, depth):
                    yield starts[start], starts[stop]
            if layers == DEEPEST:
                yield 0, len(text)

    def _found_in_view(self, view: str, depth: int) -> Iterator[_Span]:
        # Finding the place is slow, so first check whether there is any.
        joined = _BLANKS.sub("", view).lower()
        if any(form in joined for form in self._forms):
            yield from (found.span() for found in self._secret.finditer(view))
        if not self._long:
            return
        if self._has_run(_BREAKS.sub("", view).encode("ascii", "replace")):
            for run in self._runs.finditer(view):
                letters = _BREAKS.sub("", run.group()).rstrip("=")
                if depth == DEEPEST_PACKED or any(
                    self._is_in(data, depth + 1) for data in _unpacked(letters)
                ):
                    yield run.span()
        if _has_pairs(view.encode("ascii", "replace")):
            for pairs in _HEX_PAIRS.finditer(view):
                digits = pairs.group().translate(_WITHOUT_COMMAS)
                if self._is_in(bytes.fromhex(digits), DEEPEST_PACKED):
                    yield pairs.span()

    def _is_in(self, data: bytes, depth: int) -> bool:
        texts = [data.replace(b"\0", b"").decode(errors="ignore")]
        if b"\0" in data:
            texts += [data[at:].decode("utf-16-le", "ignore") for at in (0, 1)]
        # Without characters that the search would skip anyway.
        texts = [_BREAKS.sub("", text) for text in texts]
        return any(next(self._found_in(text, depth), None) is not None for text in texts)


def _split_anywhere(view: str) -> str:
    """Return a pattern of the text, with breaks and blanks anywhere inside it.

    A part of the secret that looks like an escape may have no meaning, such as `%d9`. At an end of the secret
    it belongs to the match.
    """
    letters = f"[{_BREAK}\\s]*".join(map(re.escape, _BLANKS.sub("", view)))
    before, after = (f"[{_BREAK}]*" if view[end] == "\ufffd" else "" for end in (0, -1))
    return f"{before}{letters}{after}"


def _has_pairs(text: bytes) -> bool:
    return b"hh" + b".hh" * 7 in text.translate(_AS_PAIRS)


def _places(text: str) -> list[int]:
    return [*range(len(text) + 1)]


@dataclass(frozen=True, slots=True)
class _Text:
    """The text of a body. `is_whole`: no byte is missing."""

    content: str
    codec: str
    is_whole: bool


def _text_of(body: bytes) -> _Text:
    for codec, mark in _CODECS:
        if body.startswith(mark):
            try:
                content = body.decode(codec)
            except UnicodeDecodeError:
                continue
            # In a wrong charset, text has zeros between its letters, or starts with Chinese characters.
            begins = mark or codec == "utf-8" or content[:1].isascii()
            if begins and not _CONTROLS.search(content) and _is_mostly_ascii(content):
                return _Text(content, codec, True)
    return _Text(_CONTROLS.sub("", body.decode(errors="replace")), "utf-8", False)


_CODECS = (
    ("utf-8", b""),
    ("utf-32", codecs.BOM_UTF32_LE),
    ("utf-32", codecs.BOM_UTF32_BE),
    ("utf-16", codecs.BOM_UTF16_LE),
    ("utf-16", codecs.BOM_UTF16_BE),
    ("utf-32-le", b""),
    ("utf-32-be", b""),
    ("utf-16-le", b""),
    ("utf-16-be", b""),
)
"""The charsets of JSON, each with the byte order mark of a body."""


def _is_mostly_ascii(text: str) -> bool:
    return 2 * len(text.encode("ascii", "ignore")) >= len(text)


def _merged(spans: Iterator[_Span]) -> list[_Span]:
    """Return the ranges in order, with adjoining ones merged."""
    merged: list[_Span] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def _decoded(text: str, starts: list[int], escapes: re.Pattern[str]) -> _Views:
    """Yield the text with its escapes decoded once, twice and so on, each with its characters' places."""
    for _ in range(DEEPEST):
        joined, places = _replaced(text, starts, _BREAKS, lambda _: "")
        decoded, places = _replaced(joined, places, escapes, _meaning)
        if decoded == text:
            return
        text, starts = decoded, places
        yield text, starts


def _replaced(
    text: str, starts: list[int], pattern: re.Pattern[str], meaning: Callable[[str], str]
) -> tuple[str, list[int]]:
    parts: list[str] = []
    places: list[int] = []
    end = 0
    for found in pattern.finditer(text):
        means = meaning(found.group())
        parts += [text[end : found.start()], means]
        places += starts[end : found.start()]
        places += [starts[found.start()]] * len(means)
        end = found.end()
    return "".join([*parts, text[end:]]), [*places, *starts[end:]]


def _meaning(escape: str) -> str:
    kind, rest = escape[0], escape[1:]
    if kind == "&":
        return unescape(escape)
    if kind == "\\" and len(rest) == 1:
        return {"n": "\n", "r": "\r"}.get(rest, " " if rest in "abftv0" else rest)
    if rest.isspace():
        return ""  # a continued line
    base = 8 if kind == "\\" and rest[0].isdigit() else 16
    codes = [int(digits, base) for digits in _DIGITS.findall(rest)]
    if rest[0] in "uU":
        return "".join(chr(code) if code < 0x110000 else "\ufffd" for code in codes)
    return bytes(codes).decode(errors="replace")


def _unpacked(run: str) -> Iterator[bytes]:
    """Yield the possible meanings of letters and digits in base64 or hexadecimal, from each start."""
    letters = run.replace("-", "+").replace("_", "/")
    for at in range(4):
        end = len(letters) - ((len(letters) - at) % 4 == 1)  # a single trailing letter has no meaning
        data = b64decode(letters[at:end] + "=" * (-(end - at) % 4))
        yield data
        for header in _COMPRESSED.finditer(data):
            with suppress(zlib.error):
                yield zlib.decompressobj(_ZLIB_OR_GZIP).decompress(data[header.start() :], LARGEST)
    for digits in re.findall("[0-9A-Fa-f]{16,}", letters):
        for at in range(2):
            end = len(digits) - (len(digits) - at) % 2
            yield bytes.fromhex(digits[at:end])
