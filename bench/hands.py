"""Hands of a person at a page: what they click, type and press is counted. With a mouse, or with a keyboard alone.

A click is one press on a link, button, box, radio button or list; text fields are counted by themselves, since one goes
on to the next by Tab. With the keyboard every key that moves or acts is counted, letters of a text are not.
"""

from __future__ import annotations

import time

from playwright.sync_api import Locator, Page

_FAR = 600  # steps of Tab until something counts as out of reach
_SOON = 2_500  # milliseconds
_LATE = 40.0  # seconds
_NO_FOCUS = "() => document.activeElement === document.body"
_HAS_FOCUS = "element => element === document.activeElement"


def demand(holds: object, text: str) -> None:
    """Raise AssertionError with this text if it does not hold."""
    if not holds:
        raise AssertionError(text)


class Hands:
    """page: what they work at. keyboard: without a mouse. scripts: whether the page can renew itself."""

    def __init__(self, page: Page, *, keyboard: bool = False, scripts: bool = True) -> None:
        self.page = page
        self._keyboard = keyboard
        self._scripts = scripts
        self.clicks = self.fields = self.keys = 0

    def begin(self) -> None:
        """Count anew."""
        self.clicks = self.fields = self.keys = 0

    def click(self, target: Locator) -> None:
        """A link or button."""
        self.clicks += 1
        if self._keyboard:
            self._reach(target)
            self._press("Enter")
        else:
            target.click()

    def check(self, target: Locator) -> None:
        """A box or radio button, unless it is chosen already."""
        if target.is_checked():
            return
        self.clicks += 1
        if not self._keyboard:
            target.check()
        elif target.get_attribute("type") == "radio":
            self._choose_radio(target)
        else:
            self._reach(target)
            self._press("Space")

    def choose(self, target: Locator, value: str) -> None:
        """A value of a list."""
        self.clicks += 1
        if not self._keyboard:
            target.select_option(value)
            return
        self._reach(target)
        values = target.locator("option").evaluate_all("options => options.map(option => option.value)")
        for _ in range(values.index(value) - values.index(target.input_value())):
            self._press("ArrowDown")
        demand(target.input_value() == value, f"{value} can be chosen with the keyboard")

    def fill(self, target: Locator, text: str) -> None:
        """A text field."""
        self.fields += 1
        if self._keyboard:
            self._reach(target)
            self._press("Control+a")
            self.page.keyboard.insert_text(text)
        else:
            target.fill(text)

    def search(self, text: str) -> None:
        """The box of every page; the key / leads to it."""
        box = self.page.get_by_role("searchbox", name="Search messages")
        if self._keyboard:
            self._press("/")
            demand(box.evaluate(_HAS_FOCUS), "the key / leads to the search")
        self.enter(box, text)

    def enter(self, target: Locator, text: str) -> None:
        """A text field whose form is sent by the Enter key."""
        self.fill(target, text)
        self._press("Enter")

    def see(self, target: Locator) -> Locator:
        """Wait for it. Without scripts the page is asked for again, as it says."""
        end = time.monotonic() + _LATE
        while True:
            try:
                target.first.wait_for(timeout=_LATE * 1000 if self._scripts else _SOON)
            except Exception:  # of playwright: not there yet
                if self._scripts or time.monotonic() > end:
                    raise
                self.page.reload()
            else:
                return target.first

    def _press(self, key: str) -> None:
        self.keys += 1
        self.page.keyboard.press(key)

    def _reach(self, target: Locator) -> None:
        target.wait_for(state="attached")
        skip = self.page.locator("a.skip")
        if self.page.evaluate(_NO_FOCUS) and skip.count() and target.evaluate("element => !!element.closest('main')"):
            self._press("Tab")
            self._press("Enter")
        for _ in range(_FAR):
            if target.evaluate(_HAS_FOCUS):
                return
            self._press("Tab")
        raise AssertionError(f"Tab does not reach {target} on {self.page.url}")

    def _choose_radio(self, target: Locator) -> None:
        group = self.page.locator(f'input[type="radio"][name="{target.get_attribute("name")}"]:visible')
        chosen = self.page.locator(f'input[type="radio"][name="{target.get_attribute("name")}"]:checked')
        self._reach(chosen.first if chosen.count() else group.first)
        self._press("Space")
        for _ in range(group.count()):
            if target.is_checked():
                return
            self._press("ArrowDown")
        demand(target.is_checked(), f"{target} can be chosen with the keyboard")
