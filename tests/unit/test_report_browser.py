"""The report in headless Chromium: phone, tablet and desk; light, dark and printed. It loads nothing, and axe finds nothing.

SLIPWAY_PICTURES=1 also takes the picture in the docs anew.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.plugin_utils.report import page as report

from . import report_documents as demo
from .conftest import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup)")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed (make setup)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: It talks to nobody, and may be root's in a container.
OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
]
WIDTHS = (360, 768, 1280)
#: Colours of a picture that shows something, and the share of it that is not its ground.
COLOURS, INK = 40, 0.02
PICTURE = ROOT / "docs/pictures/report.png"
#: Under this name the picture says which page it is of.
MARK = b"page"
RENEW = "SLIPWAY_PICTURES=1 .venv/bin/pytest -c .config/pytest.ini -n 0 tests/unit/test_report_browser.py"

#: What sticks out to the right: elements, and texts of their own; what is there for screen readers alone is clipped.
OVERFLOW = """() => {
    const wide = document.documentElement.clientWidth + 1, found = [];
    if (document.documentElement.scrollWidth > wide) found.push(`the page is ${document.documentElement.scrollWidth} wide`);
    const clipped = new Set();
    for (const one of document.querySelectorAll("body *:not(.skip)")) {
        const box = one.getBoundingClientRect(), style = getComputedStyle(one), name = `${one.tagName} ${one.getAttribute("class") ?? ""}`;
        if (style.clipPath !== "none" || clipped.has(one.parentElement)) clipped.add(one);
        if (!box.width || clipped.has(one)) continue;
        if (box.right > wide || box.left < -1) found.push(name);
        const spills = style.overflowX === "visible" && style.display !== "inline" && one.clientWidth;
        if (spills && one.scrollWidth > one.clientWidth + 1) found.push(`text in ${name}: ${one.textContent.trim().slice(0, 40)}`);
    }
    return found;
}"""
#: How many colours a picture has, and which share of it is of another one than the most frequent.
LOOK = """async (data) => {
    const image = new Image();
    image.src = "data:image/png;base64," + data;
    await image.decode();
    const width = Math.min(image.width, 500), height = Math.ceil(image.height * width / image.width);
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(image, 0, 0, width, height);
    const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer), count = new Map();
    for (const pixel of pixels) count.set(pixel, (count.get(pixel) ?? 0) + 1);
    return [count.size, 1 - Math.max(...count.values()) / pixels.length];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        # `make test` brings it (.ci/setup): there it is a fault that it is missing.
        assert not os.environ.get("SLIPWAY_SERVERS"), "Chromium is not here, though .ci/setup should have brought it"
        pytest.skip("Chromium is not here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield running
        running.close()


class Tab:
    """A page in the browser, and what went wrong in it."""

    def __init__(self, browser: Any, file: Path) -> None:
        #: Its own policy lets no page load a picture.
        self.canvas = browser.new_page()
        self.page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", lambda request: self.faults.extend([f"request: {request.url}"] if request.url != file.as_uri() else []))
        self.page.goto(file.as_uri())

    def as_seen(self, width: int, how: str) -> None:
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(media="print" if how == "print" else "screen", color_scheme="dark" if how == "dark" else "light")

    def overflow(self) -> list[str]:
        return [f"overflow: {one}" for one in self.page.evaluate(OVERFLOW)]

    def axe(self) -> list[str]:
        found = axe.Axe().run(self.page).response["violations"]
        return [f"axe: {one['id']}: {node['html'][:200]}: {node['failureSummary']}" for one in found for node in one["nodes"][:2]]

    def picture(self, what: str = "") -> list[str]:
        """Whether there is something to see: on the page, or in each element that ``what`` selects."""
        top = {"x": 0, "y": 0, "width": self.page.viewport_size["width"], "height": 2000}
        found = [] if not what else self.page.locator(what).all()
        shots = [one.screenshot() for one in found] if what else [self.page.screenshot(full_page=True, clip=top)]
        seen = [self.canvas.evaluate(LOOK, base64.b64encode(shot).decode()) for shot in shots]
        least = COLOURS if not what else 3
        return [
            f"picture of {what or 'the page'}: {colours} colours, {ink:.1%} ink" for colours, ink in seen if colours < least or ink < INK
        ]


def tab(browser: Any, folder: Path, text: str) -> Tab:
    file = folder / "report.html"
    file.write_text(text)
    return Tab(browser, file)


PAGES = demo.situations()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_as_it_is_looked_at(name: str, browser: Any, tmp_path: Path) -> None:
    """[K8] At each width, light, dark and printed: no error, no request, no overflow, something to see, and nothing that axe objects to."""
    seen = tab(browser, tmp_path, report.render(*PAGES[name]))
    found = []
    for opened in (False, True):
        seen.page.evaluate("all => document.querySelectorAll('details').forEach(one => one.open ||= all)", opened)
        for width, how in itertools.product(WIDTHS, ("light", "dark")):
            seen.as_seen(width, how)
            faults = seen.overflow() if how == "light" else []
            # It looks at every element: twice is enough.
            if opened and (width, how) in ((1280, "light"), (360, "dark")):
                faults += [*seen.axe(), *seen.picture()]
            found += [f"{width} {how}{', opened' if opened else ''}: {one}" for one in faults]
    assert not found + seen.faults, "\n".join([*found, *seen.faults])


def test_its_drawings_show_something(browser: Any, tmp_path: Path) -> None:
    """[K8] The path, the time line, the life of the certificate, the nights of backups, and each bar; on a phone, in the dark, printed."""
    seen = tab(browser, tmp_path, report.render(*PAGES["healthy"]))
    for width, how in ((1280, "light"), (360, "dark"), (794, "print")):
        seen.as_seen(width, how)
        assert seen.page.locator(".path .station:visible").count() == 9 and seen.page.locator(".bar:visible").count() >= 8
        assert not [fault for what in (".path", "svg.line", ".nights", ".bars") for fault in seen.picture(what)], (width, how)
    seen.as_seen(1280, "light")
    first, last = (seen.page.locator(".path .station").nth(at).bounding_box() for at in (0, 7))
    assert first["y"] == last["y"] and first["x"] < last["x"], "from left to right"
    seen.as_seen(360, "light")
    first, last = (seen.page.locator(".path .station").nth(at).bounding_box() for at in (0, 7))
    assert first["y"] < last["y"], "from top to bottom"


def test_it_is_read_by_key_and_by_ear(browser: Any, tmp_path: Path) -> None:
    """[K8] The first key leads past the head; what folds does so by key; a screen reader gets the path in its order, in words."""
    seen = tab(browser, tmp_path, report.render(*PAGES["two"]))
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.textContent") == "Skip to the report"
    stops: list[str] = []
    for _ in range(200):
        seen.page.keyboard.press("Tab")
        last = seen.page.evaluate("(one => one === document.body ? '' : one.outerHTML.slice(0, 90))(document.activeElement)")
        if not last or last in stops[:1]:
            break
        stops.append(last)
        assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", last
    focusable = seen.page.locator("main a:visible, main summary:visible, main pre:visible").count()
    assert len(stops) >= focusable, stops
    summary = seen.page.locator("summary").first
    summary.focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.querySelector('details').open")
    tree = seen.page.locator("main").aria_snapshot()
    assert 'list "From the visitor to the data"' in tree and "heading" in tree and "table" in tree
    order = [
        tree.index(f"listitem: {name}") for name in ("Visitor", "Firewall", "Certificate", "nginx", "Socket", "Server", "App", "PostgreSQL")
    ]
    assert order == sorted(order) and "behind postgres" in tree


def test_all_of_it_is_printed(browser: Any, tmp_path: Path) -> None:
    """[K8] What is folded on a screen is open on paper; a dark screen prints on white."""
    seen = tab(browser, tmp_path, report.render(*PAGES["healthy"]))
    hidden = seen.page.get_by_text("HTTP to HTTPS")
    seen.as_seen(1280, "light")
    assert not hidden.is_visible()
    seen.as_seen(794, "print")
    assert hidden.is_visible() and not seen.overflow()
    seen.page.emulate_media(media="print", color_scheme="dark")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert seen.page.pdf(format="A4").startswith(b"%PDF")


FAULTS = {
    "console": ("</main>", "<script>document.title</script></main>"),
    "request": ("</main>", '<img alt="x" src="https://example.com/x.png"></main>'),
    "overflow: the page": ("</main>", '<div><svg width="2000" height="9"><rect width="2000" height="9"/></svg></div></main>'),
    "axe": ("</main>", "<ul><p>no item</p></ul></main>"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, browser: Any, tmp_path: Path) -> None:
    """A script, something from elsewhere, something wide, something that nobody can hear."""
    old, new = FAULTS[fault]
    text = report.render(*PAGES["healthy"]).replace(old, new)
    if fault == "request":
        # The policy would not even ask.
        text = text.replace("default-src 'none'", "default-src 'none'; img-src *")
    seen = tab(browser, tmp_path, text)
    seen.as_seen(360, "light")
    assert any(one.startswith(fault) for one in (*seen.overflow(), *seen.axe(), *seen.faults))


def test_an_empty_picture_is_noticed(browser: Any, tmp_path: Path) -> None:
    seen = tab(browser, tmp_path, "<!DOCTYPE html><title>x</title><style>body{color:#fff}</style><p>All is well</p><svg class=line></svg>")
    assert seen.picture() and seen.picture("svg.line")


# --- The picture in the docs --------------------------------------------------------------------


def digest() -> bytes:
    """Of the page that the picture shows."""
    return hashlib.sha256(report.render(*PAGES["healthy"]).encode()).hexdigest()[:16].encode()


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += length + 12


def marked(png: bytes, text: bytes) -> bytes:
    """The picture with a word on which page it is of, before its pixels."""
    chunk = b"tEXt" + MARK + b"\0" + text
    # Behind the signature and the header.
    return png[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def take_picture(browser: Any, folder: Path) -> None:
    seen = tab(browser, folder, report.render(*PAGES["healthy"]))
    until = seen.page.locator(".grid").first.bounding_box()["y"]
    height = max(seen.page.locator(f"#app-1 .column:nth-child({at}) > .card:first-child").bounding_box()["height"] for at in (1, 2))
    shot = seen.page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": until + height + 4}, full_page=True)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(marked(shot, digest()))


def test_the_picture_in_the_docs_is_of_this_page(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """[K8] It was taken of the page as it is made today, whatever fonts the machine has."""
    if os.environ.get("SLIPWAY_PICTURES"):
        take_picture(request.getfixturevalue("browser"), tmp_path)
    found = dict(data.partition(b"\0")[::2] for kind, data in chunks(PICTURE.read_bytes()) if kind == b"tEXt")
    assert found.get(MARK) == digest(), f"docs/pictures/report.png is of an earlier page: {RENEW}"
