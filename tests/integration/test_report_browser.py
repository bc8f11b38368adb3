"""The report in headless Chromium: it is clicked through, at the width of a phone and of a desk, without a network.

Skipped where there is no Chromium, or no driver of it (Debian's packages chromium and chromium-driver).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from laion_xr.report import SECTIONS, write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, which drives the browser")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs Chromium and its driver (Debian: chromium, chromium-driver)"
)

PHONE, DESK = 375, 1280
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

# Contrast ratio (WCAG 2.2) of all text with what it is painted on
CONTRASTS = r"""
const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
};
const own = (e) => Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim());
return Array.from(document.querySelectorAll("body *")).filter((e) => own(e) && e.offsetParent).map((e) => {
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
  return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)];
});
"""


# Size on the page of each picture for its size as drawn, in CSS pixels; of PNG those are 1.5 to one
NATURAL = """
const done = arguments[0];
Promise.all(Array.from(document.images, (i) => new Promise((resolve) => {
  const bare = new Image();
  bare.onload = () => {
    const drawn = i.currentSrc.startsWith("data:image/png") ? bare.naturalWidth / 1.5 : bare.naturalWidth;
    resolve(i.getBoundingClientRect().width / drawn);
  };
  bare.src = i.currentSrc;
}))).then(done);
"""


@pytest.fixture(scope="module")
def page(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(dataset_root, path, subject="sub-03", betas=True, progress=False)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


Opens = Callable[..., webdriver.Chrome]


@pytest.fixture
def opens(browser: webdriver.Chrome, page: str) -> Iterator[Opens]:
    """Open the report anew, at a width and in a colour scheme; afterwards the console must be empty."""

    def opened(width: int = DESK, scheme: str = "light") -> webdriver.Chrome:
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE},
        )
        # without smooth scrolling, in which a click lands beside what it was for
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        media = {"features": [{"name": name, "value": value} for name, value in features.items()]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(page)
        # on a busy machine `get` was seen to return before the page had replaced about:blank
        ready = "return location.protocol == 'file:' && document.readyState == 'complete'"
        until(browser, lambda driver: driver.execute_script(ready))
        return browser

    yield opened
    assert browser.get_log("browser") == []


def texts(driver: webdriver.Chrome, selector: str) -> list[str]:
    script = "return Array.from(document.querySelectorAll(arguments[0]), e => e.textContent.trim())"
    return driver.execute_script(script, selector)


def visible(driver: webdriver.Chrome, selector: str) -> list:
    return [e for e in driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]


def until(driver: webdriver.Chrome, condition: Callable[[webdriver.Chrome], object]) -> None:
    WebDriverWait(driver, 10, 0.05).until(condition)


def column(driver: webdriver.Chrome, table: str, title: str) -> list[str]:
    titles = texts(driver, f"#{table} thead th")
    return texts(driver, f"#{table} tbody tr > :nth-child({titles.index(title) + 1})")


def press(driver: webdriver.Chrome, table: str, title: str) -> None:
    (button,) = [b for b in driver.find_elements(By.CSS_SELECTOR, f"#{table} th button") if b.text.startswith(title)]
    button.click()


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_width_and_shows_its_pictures(opens: Opens, width: int, scheme: str) -> None:
    driver = opens(width, scheme)
    sizes = driver.execute_script("const e = document.documentElement; return [e.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1] == width
    wide = driver.execute_script(
        "return Array.from(document.querySelectorAll('main *')).filter(e => !e.closest('.scroll, pre') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    pictures = driver.execute_script(
        "return Array.from(document.images, i => [i.complete && i.naturalWidth > 0, i.getBoundingClientRect().width, "
        "i.currentSrc === i.src])"
    )
    assert len(pictures) == 10
    assert all(loaded and shown > 250 for loaded, shown, _ in pictures)
    # bars, overlap, two of slices and the carpet are drawn anew for a phone; the carpet once for both schemes
    as_on_a_light_desk = {("light", DESK): 10, ("light", PHONE): 5, ("dark", DESK): 1, ("dark", PHONE): 0}
    assert sum(light for _, _, light in pictures) == as_on_a_light_desk[scheme, width]
    background = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(n) for n in background.removeprefix("rgb(").removesuffix(")").split(","))
    assert (brightness > 600) is (scheme == "light")


@pytest.mark.parametrize("width", [320, PHONE, 700, DESK])
def test_pictures_fit_into_their_boxes_and_are_read_without_scrolling(opens: Opens, width: int) -> None:
    """Nothing scrolls sideways but tables that say so and code; letters of a picture are not shrunk away."""
    driver = opens(width)
    found = driver.execute_script(
        "return Array.from(document.querySelectorAll('figure'), f => { const i = f.querySelector('img'); "
        "const [a, b] = [f.parentElement.getBoundingClientRect(), i.getBoundingClientRect()]; "
        "const s = getComputedStyle(f.parentElement); "
        "return [f.scrollWidth <= f.clientWidth, b.left >= a.left + parseFloat(s.paddingLeft) - 0.5, "
        "b.right <= a.right - parseFloat(s.paddingRight) + 0.5, b.width / b.height, "
        "i.naturalWidth / i.naturalHeight, i.alt]; })"
    )
    assert len(found) == 10
    for no_scroll, left, right, shown, drawn, alt in found:
        assert no_scroll, alt
        assert left, alt
        assert right, alt
        assert shown == pytest.approx(drawn, rel=0.02), alt  # not squeezed
    scales = driver.execute_async_script(NATURAL)
    assert min(scales) > (0.65 if width >= PHONE else 0.55)
    scrolling = driver.execute_script(
        "return Array.from(document.querySelectorAll('main *')).filter(e => e.scrollWidth > e.clientWidth + 1 && "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).map(e => [e.className, e.tagName, e.tabIndex])"
    )
    assert {(name, tag) for name, tag, _ in scrolling} <= {("scroll", "DIV"), ("", "PRE")}
    assert all(index == 0 for *_, index in scrolling)  # by keyboard too


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_paths_of_files_are_read_without_scrolling(opens: Opens, width: int) -> None:
    driver = opens(width)
    for table in ("maps-table", "stimuli-table"):
        box = driver.execute_script("return document.getElementById(arguments[0]).parentElement", table)
        assert driver.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", box)
        rows = driver.execute_script(
            "const edge = arguments[0].getBoundingClientRect(); return Array.from("
            "arguments[0].querySelectorAll('tbody tr'), r => { const p = r.lastElementChild; "
            "const b = p.getBoundingClientRect(); const line = parseFloat(getComputedStyle(p).lineHeight); "
            "return [p.textContent, b.left >= edge.left && b.right <= edge.right, b.height / line, "
            "r.getBoundingClientRect().height / line]; })",
            box,
        )
        assert len(rows) >= 5
        for path, inside, lines, height in rows:
            assert "/" in path
            assert inside, path
            assert lines < (5 if width == PHONE else 3), path  # with what is above and below them
            assert height < (9 if width == PHONE else 3), path
    # still a table, for those who hear it
    tree = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in tree if not node["ignored"]]
    assert roles.count("table") >= 4
    assert roles.count("rowheader") > 40
    press(driver, "maps-table", "Size")
    assert driver.find_elements(By.CSS_SELECTOR, "#maps-table th[aria-sort=descending]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_it_is_on(opens: Opens, scheme: str) -> None:
    """WCAG's contrast ratio of 4.5, of all text as it is painted."""
    driver = opens(DESK, scheme)
    low = driver.execute_script(CONTRASTS)
    assert [found for found in low if found[0] < 4.5] == []


def test_asks_no_network(opens: Opens) -> None:
    driver = opens()
    asked = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    log = [entry["message"] for entry in driver.get_log("performance")]
    sent = [message for message in log if '"Network.requestWillBeSent"' in message]
    assert sent  # the page itself: what is logged is what is asked
    assert [m for m in sent if '"url":"http' in m or '"url":"ws' in m] == []
    # and were there something that asks, the policy would not let it
    refused = driver.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('answered'), e => done(String(e)))"
    )
    assert "TypeError" in refused
    assert any("Content Security Policy" in entry["message"] for entry in driver.get_log("browser"))


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_navigation_goes_to_each_section_and_says_where_it_is(opens: Opens, width: int) -> None:
    driver = opens(width)
    links = driver.find_elements(By.CSS_SELECTOR, "nav a")
    assert [link.get_attribute("href").partition("#")[2] for link in links] == list(SECTIONS)
    top = "return document.getElementById(arguments[0]).getBoundingClientRect().top"
    for link, name in zip(links, SECTIONS, strict=True):
        link.click()
        until(driver, lambda d, name=name: -5 < d.execute_script(top, name) < 800)
        assert visible(driver, "nav")
    until(driver, lambda d: texts(d, "nav [aria-current]") == ["Provenance"])
    links[2].click()
    until(driver, lambda d: texts(d, "nav [aria-current]") == ["Trials"])
    assert links[2].is_displayed()


def test_tables_sort_numbers_as_numbers_and_back(opens: Opens) -> None:
    driver = opens()
    names, counts = column(driver, "rois-table", "ROI"), column(driver, "rois-table", "Voxels")
    voxels = dict(zip(names, (int(n) for n in counts), strict=True))
    assert len(set(voxels.values())) > 10
    press(driver, "rois-table", "Voxels")
    assert [int(n) for n in column(driver, "rois-table", "Voxels")] == sorted(voxels.values(), reverse=True)
    head = driver.find_element(By.CSS_SELECTOR, "#rois-table th[aria-sort=descending]")
    assert head.text.startswith("Voxels")
    press(driver, "rois-table", "Voxels")
    assert [int(n) for n in column(driver, "rois-table", "Voxels")] == sorted(voxels.values())
    found = zip(column(driver, "rois-table", "ROI"), column(driver, "rois-table", "Voxels"), strict=True)
    assert {name: int(n) for name, n in found} == voxels  # rows moved as a whole
    press(driver, "rois-table", "ROI")
    assert column(driver, "rois-table", "ROI") == sorted(voxels, key=str.lower)
    # what has no number is last, whichever the direction
    for _ in range(2):
        press(driver, "rois-table", "Ceiling, median")
        assert column(driver, "rois-table", "Ceiling, median (%)")[-1] == "-"


def test_sessions_sort_by_keyboard(opens: Opens) -> None:
    driver = opens()
    button = driver.find_element(By.CSS_SELECTOR, "#sessions-table th button")
    button.send_keys(Keys.ENTER)
    button.send_keys(Keys.SPACE)
    assert column(driver, "sessions-table", "Session") == ["ses-03", "ses-02", "ses-01"]


def test_filter_keeps_rois_by_name_and_category(opens: Opens) -> None:
    driver = opens()
    box, rows = driver.find_element(By.ID, "rois-table-filter"), "#rois-table tbody tr:not([hidden]) th"
    everything = texts(driver, rows)
    box.send_keys("FACE")
    assert texts(driver, rows) == ["FFA1", "FFA2", "OFA", "pSTSfaces"]
    assert texts(driver, "[data-counts=rois-table]") == [f"4 of {len(everything)}"]
    box.send_keys(" ffa")
    assert texts(driver, rows) == ["FFA1", "FFA2"]
    press(driver, "rois-table", "ROI")
    press(driver, "rois-table", "ROI")
    assert texts(driver, rows) == ["FFA2", "FFA1"]  # sorting leaves the filter
    box.send_keys("nothing")
    assert texts(driver, rows) == []
    box.clear()
    box.send_keys(" ", Keys.BACKSPACE)
    assert sorted(texts(driver, rows)) == sorted(everything)


def test_code_is_copied(opens: Opens) -> None:
    driver = opens()
    for permission in ("clipboardReadWrite", "clipboardSanitizedWrite"):
        driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": [permission]})
    driver.find_element(By.CSS_SELECTOR, "button.copy").click()
    until(driver, lambda d: texts(d, ".copied") == ["Copied"])
    # pasted into the filter box, which takes one line: the words are those of the code
    box = driver.find_element(By.ID, "rois-table-filter")
    box.send_keys(Keys.CONTROL, "v")
    assert box.get_attribute("value").split() == texts(driver, "#code-open")[0].split()


def test_code_is_copied_where_the_clipboard_is_kept_from_pages(opens: Opens) -> None:
    driver = opens()
    driver.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    driver.find_element(By.CSS_SELECTOR, "button.copy").click()
    until(driver, lambda d: texts(d, ".copied") == ["Copied"])
    assert driver.execute_script("return getSelection().toString()").split() == texts(driver, "#code-open")[0].split()


def test_sections_and_lists_open_and_close(opens: Opens) -> None:
    driver = opens(PHONE)
    summary = driver.find_element(By.CSS_SELECTOR, "#rois > details > summary")
    assert visible(driver, "#rois-table")
    summary.click()
    assert visible(driver, "#rois-table") == []
    driver.find_element(By.CSS_SELECTOR, 'nav a[href="#rois"]').click()  # what is asked for opens
    until(driver, lambda d: visible(d, "#rois-table"))
    assert visible(driver, "#rois .items") == []
    driver.find_element(By.CSS_SELECTOR, "#rois details:not(.section) > summary").click()
    assert len(visible(driver, "#rois .items")) == 1


def test_keyboard_reaches_the_content_and_what_scrolls(opens: Opens) -> None:
    driver = opens(PHONE)
    driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert driver.switch_to.active_element.text == "Skip to the content"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "content"
    table = driver.find_element(By.CSS_SELECTOR, "#sessions .scroll")
    assert driver.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", table)
    table.send_keys(Keys.ARROW_RIGHT)
    until(driver, lambda d: d.execute_script("return arguments[0].scrollLeft", table) > 0)


def test_everything_is_there_without_scripts(opens: Opens) -> None:
    driver = opens()
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.refresh()
        assert len(visible(driver, "#rois-table tbody tr")) == 40
        assert driver.find_elements(By.CSS_SELECTOR, "th button") == []
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
