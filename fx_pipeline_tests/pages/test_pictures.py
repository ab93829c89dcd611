"""README's pictures of the product: there, small, and each one used."""

import re

from fx_pipeline_tests.documents import README
from fx_pipeline_tests.pages.screenshots import FOLDER, PICTURES

PNG = b"\x89PNG\r\n\x1a\n"


def test_readme_shows_all_pictures_and_they_are_small() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(docs/screenshots/(\w+)\.png\)", README.read_text(encoding="utf-8"))
    assert shown == [*PICTURES, "dagster"]
    pictures = {path.stem: path.read_bytes() for path in FOLDER.iterdir()}
    assert pictures.keys() == set(shown)
    assert [name for name, content in pictures.items() if not content.startswith(PNG)] == []
    assert [name for name, content in pictures.items() if len(content) >= 150_000] == []
