"""The page in a real browser without a network."""

import html
import json
import re
import shutil
import subprocess

import pytest

from jorip.report.write import write_report
from tests.report.runs import TARGET, write_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
browser = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser is None, reason="no Chromium on this machine; .ci/run installs it"),
]


def open_page(page, tmp_path, *flags: str) -> str:
    """Chromium's standard output. No name resolves, so anything fetched would fail."""
    command = [
        str(browser), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-extensions", "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,1600",
        f"--log-net-log={tmp_path / 'net.json'}", *flags, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode("utf-8")


def test_the_page_stands_in_the_browser_and_asks_for_nothing(tmp_path):
    page = write_report(write_run(tmp_path / "run")).html
    dom = open_page(page, tmp_path, "--dump-dom")
    assert dom.count("<svg") == 6  # parsed as drawings, not as text
    text = html.unescape(re.sub(r"<[^>]*>", "\n", dom))
    assert TARGET in text and "학습 곡선" in text
    for token in TARGET.replace(" ", ""):
        assert f"\n{token}\n" in text
    assert not requests(tmp_path)


def test_requests_of_a_page_would_be_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<img src='http://elsewhere.invalid/a.png'>", encoding="utf-8")
    open_page(page, tmp_path, "--dump-dom")
    assert requests(tmp_path) == {"elsewhere.invalid"}


def requests(tmp_path) -> set[str]:
    """Hosts that were asked for, without those that the browser asks for its maker's updates whatever is open."""
    events = json.dumps(json.loads((tmp_path / "net.json").read_text(encoding="utf-8"))["events"])
    hosts = set(re.findall(r"(?:https?|wss?)://([\w.-]+)", events))
    return {h for h in hosts if not re.search(r"(^|\.)(google|googleapis|gvt1|chrome)\.com$", h)}


def test_a_screenshot_has_the_charts(tmp_path):
    page = write_report(write_run(tmp_path / "run")).html
    shot = tmp_path / "shot.png"
    open_page(page, tmp_path, f"--screenshot={shot}")
    from PIL import Image

    picture = Image.open(shot).convert("RGB")
    colours = {c for _, c in picture.getcolors(1 << 24) or []}
    assert picture.size == (1100, 1600)
    assert {(0x2F, 0x6F, 0xB0), (0xD9, 0x73, 0x0D)} <= colours  # both lines of the loss
