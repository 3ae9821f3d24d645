"""The demo's page in a real browser: Debian's Chromium, driven by Playwright, on a demo that runs as a Space does.

Screenshots are kept when ATLAS_SCREENSHOTS names a folder: `ATLAS_SCREENSHOTS=spaces_demo/screenshots pytest ...`.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from atlas_hf.demo import DIGITS_MODEL
from atlas_hf.demo.examples import examples
from atlas_hf.folder import RESULTS, read_json
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.streams.digits.tasks import TASKS
from shared.demo_server import MODEL, OTHER, SECRET

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no Chromium: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PATIENCE = 60_000  # milliseconds
LOOPBACK = re.compile(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|data:|blob:")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


class Visitor:
    """A person with a page of his own."""

    def __init__(self, browser, served, width=1440, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.served, self.requests, self.errors = self.context.new_page(), served, [], []
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(served.url)
        self.answered()

    def answered(self, best=None):
        """Wait for an answer (any, or this one)."""
        self.shows("#answer .best", best or "")

    def shows(self, selector, text):
        playwright.expect(self.page.locator(selector).first).to_contain_text(text, timeout=PATIENCE)

    def told(self, text):
        """Wait for a message, and close it."""
        toast = self.page.get_by_test_id("toast-body").filter(has_text=text).first
        playwright.expect(toast).to_be_visible(timeout=PATIENCE)
        toast.get_by_test_id("toast-close").click()

    def tab(self, name):
        self.page.get_by_role("tab", name=name).click()

    def choose(self, task):
        """Even if it is chosen already: its inputs are empty then."""
        for name in (next(name for name in TASKS if name != task), task):
            self.radio(name).check()
            self.shows("#about", TASKS[name].spec.description)
        self.shows("#answer", "Ask a question, or click an example.")

    def radio(self, task):
        return self.page.get_by_role("radio", name=re.compile(f"^\\d+ +{task}$"))

    def example(self, task):
        """The inputs and the answer come with the task: until then the page shows those of what was asked before."""
        self.tab("Try")
        self.page.locator("button.example").filter(has_text=re.compile(f"^\\s*{task}(:|\\s*$)")).click()
        playwright.expect(self.radio(task)).to_be_checked(timeout=PATIENCE)

    def upload(self, path, number=1):
        self.page.locator(f"#image-{number} input[type=file]").set_input_files(path)

    def close(self):
        outside = [url for url in self.requests if not LOOPBACK.match(url)]
        self.context.close()
        assert not outside, "a request left the loopback"
        assert not self.errors and self.served.no_traceback()


@pytest.fixture(scope="module")
def visitor(browser, served):
    """Stays for several tests, each of which begins with what it needs; nothing that went wrong in one may last."""
    someone = Visitor(browser, served)
    yield someone
    someone.close()


@pytest.fixture(scope="module")
def best():
    """What the model itself says of each example."""
    model, found = AtlasModel.from_pretrained(DIGITS_MODEL), {}
    for name, example in examples().items():
        question, spec = example.question, model.specs[name]
        images = question.images if len(question.images) > 1 else question.images[0] if question.images else None
        text = question.text if spec.text_columns else None
        found[name] = model.predict(name, images, text, question.choices.splitlines() or None)
    return found


def test_every_example_is_answered_as_the_model_answers(visitor, best):
    for name, answers in best.items():
        visitor.example(name)
        visitor.answered(answers[0]["label"])
        visitor.shows("#answer", f"The data say: {examples()[name].expected}")
        visitor.shows("#answer .bars .number", f"{answers[0]['score']:.3f}")
        visitor.shows("#answer", " ms")
        visitor.tab("Reuse")
        visitor.shows("#leaned-on .asked b", name)
        visitor.shows("#leaned-on .lead", "reuses nothing" if name == "entailment" else f"{name} leaned most on")
        visitor.shows("#site-map thead", name)
        visitor.shows("#test-set-map thead", name)
        visitor.shows("#graph text.own", name)
        visitor.tab("Try")


def test_a_task_shows_the_inputs_it_takes(visitor):
    visible = playwright.expect
    for task, images, text, choices in (
        ("image-pairs", 2, True, False), ("text-choice", 0, True, True), ("image-class", 1, False, False),
    ):  # fmt: skip
        visitor.choose(task)
        visible(visitor.page.locator("#image-1")).to_be_visible(visible=images > 0)
        visible(visitor.page.locator("#image-2")).to_be_visible(visible=images > 1)
        visible(visitor.page.locator("#text")).to_be_visible(visible=text)
        visible(visitor.page.locator("#choices")).to_be_visible(visible=choices)
    visitor.page.locator("#ask").click()
    visitor.told("The task image-class takes an image; you gave none.")
    visitor.upload(examples()["image-class"].question.images[0])
    visitor.page.locator("#image-1 img").wait_for()
    visitor.page.locator("#ask").click()
    visitor.answered("nine")


def test_wrong_files_are_told_and_the_page_goes_on(visitor, tmp_path):
    visitor.choose("image-class")
    (tmp_path / "notes.txt").write_text("not an image")
    visitor.upload(tmp_path / "notes.txt")
    visitor.told("Invalid file type")
    (tmp_path / "notes.png").write_text("not an image")
    visitor.upload(tmp_path / "notes.png")
    visitor.page.locator("#image-1 img").wait_for(state="attached")
    visitor.page.locator("#ask").click()
    visitor.told("This file is no image that can be read")
    (tmp_path / "large.png").write_bytes(b"\x89PNG" + bytes(11_000_000))
    visitor.example("image-class")
    visitor.answered("nine")


def test_too_long_a_text_is_told(visitor):
    visitor.example("text-class")
    visitor.answered("two")
    visitor.page.locator("#text textarea, #text input").fill("one " * 600)
    visitor.page.locator("#ask").click()
    visitor.told("The text has 2,399 characters; at most 2,000 are read. Shorten it.")
    visitor.answered("two")


def test_the_slider_asks_the_state_after_a_task(visitor):
    visitor.example("image-class")
    visitor.answered("nine")
    visitor.tab("Never forgets")
    slider = visitor.page.locator("#after input[type=range]")
    slider.fill("3")
    visitor.shows("#side-by-side", "After task 3 (image-class)")
    visitor.shows("#side-by-side", "The same answer, every score equal to the last bit.")
    slider.press("ArrowLeft")
    visitor.shows("#side-by-side", "After task 2 (text-choice)")
    visitor.shows("#side-by-side", "image-class is not learned yet.")
    last_row = read_json(DIGITS_MODEL / RESULTS)["matrix"][-1]
    visitor.shows("#matrix", "".join(f"{score:.2f}" for score in last_row))
    visitor.shows("#over-time", "sequential fine-tuning")
    visitor.tab("Use it")
    visitor.shows(".tabitem:visible", "The model as it was after task 2")


def test_a_repository_is_opened_by_name_and_revision(browser, served):
    visitor = Visitor(browser, served)
    page = visitor.page
    page.get_by_role("button", name="Open another").click()
    for repository, revision, text in (
        ("user/nothing", "", "There is no public repository user/nothing."),
        (SECRET, "", f"There is no public repository {SECRET}. Check the name; if it is private, give a token"),
        (OTHER, "", f"{OTHER} is no model of atlas_hf"),
        (MODEL, "v9", f"{MODEL} has no such revision"),
        ("../etc", "", "is no repository of the Hub"),
        ("", "", "Which repository?"),
    ):
        page.get_by_label("Repository").fill(repository)
        page.get_by_label("Revision").fill(revision)
        page.locator("#open").click()
        visitor.told(text)
    visitor.shows("#model", "comes with the package")
    page.get_by_label("Repository").fill(MODEL)
    page.get_by_label("Revision").fill("task-02-text-choice")
    page.get_by_label("Revision").press("Enter")
    visitor.shows("#model", f"{MODEL} at task-02-text-choice")
    visitor.answered("nine")
    playwright.expect(page.get_by_role("radio")).to_have_count(2)
    playwright.expect(page.locator("button.example:visible")).to_have_count(2)
    visitor.tab("Never forgets")
    visitor.shows("#side-by-side", "every score equal to the last bit")
    visitor.tab("Use it")
    visitor.shows(".tabitem:visible", f'from_pretrained("{MODEL}", revision="task-02-text-choice"')
    assert f"https://huggingface.co/{MODEL}/blob/" in page.locator("#card-link a[target]").get_attribute("href")
    visitor.close()


def test_visitors_do_not_see_each_others_model(visitor, browser, served):
    other = Visitor(browser, served)
    other.page.get_by_role("button", name="Open another").click()
    other.page.get_by_label("Repository").fill(SECRET)
    other.page.get_by_label("Token").fill("hf_write")
    other.page.locator("#open").click()
    other.shows("#model", f"{SECRET} at main")
    other.answered("a white eight")
    visitor.example("vqa")
    visitor.answered("nine")
    visitor.shows("#model", "comes with the package")
    other.close()


def test_it_can_be_used_with_the_keyboard(visitor):
    page = visitor.page
    visitor.example("text-choice")
    visitor.answered("nine")
    field = page.locator("#text textarea, #text input")
    field.focus()
    field.fill("what is less than five ?")
    field.press("Enter")
    visitor.answered("one")
    visitor.radio("text-choice").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    playwright.expect(visitor.radio("image-class")).to_be_checked()
    visitor.shows("#answer", "Ask a question")
    button = page.locator("button.example").first
    button.focus()
    button.press("Enter")
    visitor.answered("entailment")
    page.get_by_role("tab", name="Try").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("tab", name="Reuse")).to_have_attribute("aria-selected", "true")


def test_fields_and_pictures_have_names(visitor):
    page = visitor.page
    visitor.example("image-pairs")
    visitor.answered("true")
    page.get_by_role("button", name="Open another").click()
    for tab in ("Try", "Reuse", "Never forgets"):
        visitor.tab(tab)
        nameless = page.evaluate("""[...document.querySelectorAll('input, textarea, button, select')]
            .filter(e => e.checkVisibility() && e.type !== 'file')
            .filter(e => !(e.ariaLabel || e.title || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
            .map(e => e.outerHTML)""")
        assert nameless == [], tab
        assert (
            page.evaluate("[...document.images].filter(e => e.checkVisibility() && !e.alt).map(e => e.outerHTML)")
            == []
        )
        assert page.locator("svg[role=img]:not([aria-label])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(browser, served, scheme, tmp_path):
    folder = Path(os.environ.get("ATLAS_SCREENSHOTS", tmp_path))
    visitor = Visitor(browser, served, 390, scheme)
    page = visitor.page
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background)[:3])) < 60) == (scheme == "dark"), background
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        for tab in ("Try", "Reuse", "Never forgets", "Use it"):
            visitor.tab(tab)
            if tab == "Never forgets":
                visitor.shows("#side-by-side", "every score equal")
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") == width, tab
            path = folder / f"{tab.lower().replace(' ', '-')}-{width}-{scheme}.png"
            page.screenshot(path=path, full_page=True)
            assert path.stat().st_size > 10_000
    visitor.close()
