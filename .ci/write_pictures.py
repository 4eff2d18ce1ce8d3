"""Writes the tutorial's pictures from a report's page: .ci/write_pictures.py REPORT.html, in a headless Chromium.

planner quickstart && planner report planner-quickstart && .venv/bin/python .ci/write_pictures.py report.html
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

TARGET = Path(__file__).parents[1] / "docs" / "pictures"
MAX_BYTES = 150_000


def main(html: Path) -> None:
    """The answer, the trade-off between passes and minutes, and one case; ends with 1 when one is too large."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    TARGET.mkdir(exist_ok=True)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 820, "height": 900}, color_scheme="light")
        tab.goto(html.resolve().as_uri())
        picture(tab.locator("header"), "report-answer.png")
        picture(tab.locator("#tradeoff"), "report-tradeoff.png")
        tab.set_viewport_size({"width": 1072, "height": 900})
        # The first three cases, one of them open; what comes after is cut off.
        tab.locator(".open").first.click()
        tab.add_style_tag(content="#case-table > tbody > tr:nth-child(n + 5), #more { display: none !important; }")
        picture(tab.locator("#cases"), "report-cases.png")
        browser.close()


def picture(element: Any, name: str) -> None:
    """One PNG."""
    path = TARGET / name
    element.screenshot(path=path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    if path.stat().st_size > MAX_BYTES:
        sys.exit(f"{path}: more than {MAX_BYTES / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
