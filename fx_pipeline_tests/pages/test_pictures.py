"""The screenshots are complete and small, and each is used once."""

import re

from fx_pipeline_tests.documents import DOCUMENTS
from fx_pipeline_tests.pages.screenshots import FOLDER, PICTURES

PNG = b"\x89PNG\r\n\x1a\n"


def test_documents_show_each_screenshot_once_and_all_are_small() -> None:
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    shown = re.findall(r"!\[[^\]]+\]\((?:docs/)?screenshots/(\w+)\.png\)", text)
    assert sorted(shown) == sorted([*PICTURES, "dagster"])
    pictures = {path.stem: path.read_bytes() for path in [*FOLDER.iterdir(), FOLDER.parent / "backfill.png"]}
    assert pictures.keys() == {*shown, "backfill"}
    assert [name for name, content in pictures.items() if not content.startswith(PNG)] == []
    assert [name for name, content in pictures.items() if len(content) >= 150_000] == []
