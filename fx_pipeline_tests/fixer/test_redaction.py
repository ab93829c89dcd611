"""The access key is found in a body in every encoding, and what has no key is left as it is."""

import gzip
import json
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.fixer.redaction import LARGEST, Redactor

HEX = "4f9d0c7be21a58d36e0b9c2f71a84d55"
SIGNS = "k3y/Mark+7f3a9c=d&e%\"'<\\>"
KEYS = {"hexadecimal": HEX, "letters": "AbCdEfGhIjKlMnOp", "full of signs": SIGNS}

Encoder = Callable[[str], str]


def each(form: str) -> Encoder:
    """Encode each letter by a form such as `%{:02x}`."""
    return lambda text: "".join(form.format(ord(letter)) for letter in text)


def each_byte(form: str) -> Encoder:
    """Encode each byte of UTF-8 by a form such as `%{:02x}`."""
    return lambda text: "".join(form.format(byte) for byte in text.encode())


def every_other(encode: Encoder) -> Encoder:
    """Encode every other letter, and each with which an escape begins: it would be taken for one."""
    return lambda text: "".join(
        encode(letter) if at % 2 or letter in "%&\\" else letter for at, letter in enumerate(text)
    )


def base64(before: str = "", after: str = "", encode: Callable[[bytes], bytes] = b64encode) -> Encoder:
    return lambda text: encode((before + text + after).encode()).decode()


def in_lines(text: str) -> str:
    return "\r\n".join(text[at : at + 20] for at in range(0, len(text), 20))


ESCAPES: dict[str, Encoder] = {
    "quote": lambda text: quote(text, safe=""),
    "quote_plus": quote_plus,
    "percent": each_byte("%{:02x}"),
    "PERCENT": each_byte("%{:02X}"),
    "percent, some": every_other(each_byte("%{:02x}")),
    "percent, doubled": each_byte("%25{:02x}"),
    "percent, tripled": each_byte("%2525{:02x}"),
    "%u": each("%u{:04x}"),
    "HTML": escape,
    "HTML decimal": each("&#{};"),
    "HTML decimal, some": every_other(each("&#{};")),
    "HTML decimal, zeros": each("&#000000000{};"),
    "HTML decimal, no semicolon": each("&#{}"),
    "HTML hexadecimal": each("&#x{:x};"),
    "HTML HEXADECIMAL": each("&#X{:X};"),
    "HTML hexadecimal, zeros": each("&#x0000{:x};"),
    "HTML hexadecimal, no semicolon": each("&#x{:x}"),
    "HTML doubled": each("&amp;#{};"),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, all": each("\\u{:04x}"),
    "JSON, ALL": each("\\u{:04X}"),
    "JSON, some": every_other(each("\\u{:04x}")),
    "JSON, doubled": each("\\\\u{:04x}"),
    "\\x": each_byte("\\x{:02x}"),
    "\\u{}": each("\\u{{{:x}}}"),
    "octal": each_byte("\\{:03o}"),
}


def quoted_printable(text: str) -> str:
    return "=\r\n".join(each_byte("={:02X}")(text[at : at + 20]) for at in range(0, len(text), 20))


SPLITS: dict[str, Encoder] = {
    "zero width": "\u200b".join,
    "joiners": "\u200d\u2060".join,
    "soft hyphens": "\xad".join,
    "marks": "\ufeff".join,
    "line breaks": in_lines,
    "a line each": "\n".join,
}
PACKED: dict[str, Encoder] = {
    "base64": base64(),
    "base64, 1": base64("x", "y"),
    "base64, 2": base64("xy", "z"),
    "base64, 3": base64("access_key=", "&base=EUR"),
    "base64url": base64("\xff\xfe", encode=urlsafe_b64encode),
    "base64 without padding": lambda text: b64encode(text.encode()).decode().rstrip("="),
    "base64 of UTF-16": lambda text: b64encode(text.encode("utf-16-le")).decode(),
    "base64 of gzip": lambda text: b64encode(gzip.compress(f"access_key={text}".encode(), mtime=0)).decode(),
    "base64 of zlib": lambda text: b64encode(zlib.compress(text.encode())).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "HEXADECIMAL": lambda text: text.encode().hex().upper(),
    "hexadecimal of UTF-16": lambda text: text.encode("utf-16-be").hex(),
    "hexadecimal, colons": lambda text: text.encode().hex(":"),
    "hexadecimal, blanks": lambda text: text.encode().hex(" "),
}
CASES: dict[str, Encoder] = {"as it is": str, "UPPER": str.upper, "lower": str.lower}
AROUND = [(" ", " "), ("user_", "_x"), ("KEY", "z"), ("=", "&"), (":", ""), ("", "!"), ("\u00e9", "\u00e9")]


def body_of(form: str, before: str = " ", after: str = " ") -> str:
    return f'{{"info": "{before}{form}{after}", "USD": 1.02}}'


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("form", ESCAPES)
def test_the_key_is_found_escaped_and_only_it_replaced(key: str, form: str) -> None:
    redactor = Redactor(key)
    for case in CASES.values():
        bodies = {body_of(ESCAPES[form](case(key)), *around): body_of("***", *around) for around in AROUND}
        assert {body: redactor.redact(body.encode()).decode() for body in bodies} == bodies


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("form", [*SPLITS, *PACKED, "quoted-printable"])
def test_the_key_is_found_split_or_packed(key: str, form: str) -> None:
    encoded = {**SPLITS, **PACKED, "quoted-printable": quoted_printable}[form](key)
    for around in AROUND:
        redacted = Redactor(key).redact(body_of(encoded, *around).encode()).decode()
        assert encoded not in redacted
        assert redacted.startswith('{"info": "')
        assert redacted.endswith('", "USD": 1.02}')
        assert len(redacted) <= len(body_of("***", *around))


LAYERS = st.lists(st.sampled_from([*ESCAPES.values()]), max_size=3)


@given(
    st.sampled_from([*KEYS.values()]),
    st.sampled_from([*CASES.values()]),
    LAYERS,
    st.sampled_from([*PACKED.values(), str]),
    LAYERS,
    st.sampled_from([*SPLITS.values(), str]),
    LAYERS,
    st.sampled_from(AROUND),
)
def test_the_key_is_found_in_encodings_of_encodings(
    key: str,
    case: Encoder,
    inner: list[Encoder],
    pack: Encoder,
    middle: list[Encoder],
    split: Encoder,
    outer: list[Encoder],
    around: tuple[str, str],
) -> None:
    form = case(key)
    for encode in [*inner, pack, *middle, split, *outer]:
        if len(form) < 1500:  # each layer of escapes makes it several times longer
            form = encode(form)
    redacted = Redactor(key).redact(body_of(form, *around).encode()).decode()
    assert form not in redacted
    assert "***" in redacted


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize(
    "codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_the_key_is_found_in_each_charset(key: str, codec: str) -> None:
    bodies = {name: body_of(encode(key)).encode(codec) for name, encode in {**ESCAPES, **PACKED}.items()}
    redacted = {name: Redactor(key).redact(body).decode(codec) for name, body in bodies.items()}
    assert redacted == dict.fromkeys(bodies, body_of("***"))


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("rest", [b"", b"\xff\xfe", b"\xe9"])
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_the_key_is_found_in_a_charset_inside_another(key: str, rest: bytes, codec: str) -> None:
    for form in ("percent", "HTML decimal", "JSON, all", "base64"):
        encoded = {**ESCAPES, **PACKED}[form](key).encode(codec)
        redacted = Redactor(key).redact(b'{"info": "' + rest + encoded + b'"}').decode()
        assert redacted.replace("\ufffd", "") == '{"info": "***"}'


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(f"access_key={HEX}".encode(), mtime=0),
        zlib.compress(f"access_key={HEX}".encode()),
        zlib.compress(f"access_key={HEX}".encode(), wbits=-15),
        gzip.compress(f"access_key={HEX}".encode() * 100, mtime=0),
        gzip.compress(f"access_key={HEX}".encode(), 0, mtime=0),
    ],
)
def test_bytes_that_are_no_text_are_not_kept(packed: bytes) -> None:
    for body in (packed, b"GIF89a" + packed, packed + b" ", packed[2:], packed + packed):
        kept = Redactor(HEX).redact(body)
        assert packed not in kept
        assert HEX.encode() not in kept
        kept.decode()


@given(st.binary(min_size=1, max_size=300))
def test_what_is_kept_of_bytes_is_text(body: bytes) -> None:
    kept = Redactor(HEX).redact(body)
    if kept != body:
        assert not {*kept.decode()} & {chr(code) for code in range(9)}


def test_a_page_in_latin_1_is_still_a_page() -> None:
    page = f"<html>caf\xe9 {HEX}</html>".encode("latin-1")
    assert Redactor(HEX).redact(page).decode() == "<html>caf\ufffd ***</html>"


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200) | st.text(
    "&%\\=#;xu0123456789abcdefABCDEFltgmp+/_- \n", max_size=200
)


@given(TEXTS, st.sampled_from([*KEYS.values()]))
def test_a_text_without_the_key_is_left_as_it_is(text: str, key: str) -> None:
    assert Redactor(key).redact(text.encode()) == text.encode()


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"])
def test_a_text_in_another_charset_is_left_as_it_is(codec: str) -> None:
    body = json.dumps({"symbols": {"STN": "S\xe3o Tom\xe9", "TTD": "Trinidad & Tobago"}}, ensure_ascii=False)
    assert Redactor(HEX).redact(body.encode(codec)) == body.encode(codec)


# Without a backslash, which may turn any text after it into an escape.
@given(
    st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"),
        min_size=8,
        max_size=40,
    )
)
def test_any_key_is_found_in_the_usual_forms(key: str) -> None:
    for form in (key, quote(key), quote(key, safe=""), quote_plus(key), escape(key), json.dumps(key)[1:-1]):
        assert Redactor(key).redact(body_of(form).encode()).decode() == body_of("***")


def test_a_short_key_is_only_found_as_a_whole_word() -> None:
    body = b'{"rates": {"AED": 4.1}, "key": "E", "url": "?k=%45", "code": 101}'
    redacted = b'{"rates": {"AED": 4.1}, "key": "***", "url": "?k=***", "code": 101}'
    assert Redactor("E").redact(body) == redacted


def test_too_many_layers_are_not_kept() -> None:
    form = HEX
    for _ in range(20):
        form = quote(each_byte("%{:02x}")(form)) if form == HEX else quote(form)
    assert Redactor(HEX).redact(f"a {form} b".encode()) == b"***"
    for _ in range(8):
        form = b64encode((HEX if form.startswith("%") else form).encode()).decode()
    assert Redactor(HEX).redact(f"a {form} b".encode()) == b"a *** b"


def test_a_large_body_is_kept_where_it_is_plain() -> None:
    plain = b'{"USD": 1.02}' * (LARGEST // 13 + 1)
    assert Redactor(HEX).redact(plain) == plain
    for escaped in (plain + b"%41", plain + b"\xff"):
        assert (
            Redactor(HEX).redact(escaped).endswith(b"too many to be searched for the access key: not kept)")
        )
