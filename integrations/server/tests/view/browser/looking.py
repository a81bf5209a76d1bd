"""A browser that uses the page as people do: it clicks, types, drags and reads."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30  # seconds until the condition must hold
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
HOSTILE = (
    "<script>window.harmed=1</script><img src=x onerror='window.harmed=1'> \u202egnp.exe\u202c "
    'nul\x00 javascript:window.harmed=1 "><svg onload=window.harmed=1> &lt;b&gt; \u2066isolated '
)
TOPICS = {
    "cats": "The cat sleeps on the warm sofa",
    "banks": "The bank raised its interest rates",
    "bread": "Knead the dough and let the bread rise",
    "ships": "A ship leaves the harbour at dawn",
    "rain": "Heavy rain falls on the northern hills",
}
ENDINGS = (
    "every day",
    "under code E4712",
    "since last winter",
    "as ever",
    "for a while",
    "at night",
)


def notes() -> tuple[list[str], list[str], list[dict[str, Any]]]:
    """Ids, documents and metadata of sixty notes: five topics in six ways, from 1990 on."""
    ids, documents, metadatas = [], [], []
    for number in range(60):
        topic = list(TOPICS)[number % 5]
        ids.append(f"{topic}-{number}")
        documents.append(f"{TOPICS[topic]} {ENDINGS[number % 6]}, note {number}.")
        author = {"name": "Ada" if number % 2 else "Wei"}
        metadatas.append({"topic": topic, "year": 1990 + number, "author": author})
    return ids, documents, metadatas


def missing() -> str | None:
    """The package that is missing for driving a browser."""
    try:
        import selenium  # noqa: F401
    except ModuleNotFoundError:
        return "needs selenium"
    lacks = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"needs {' and '.join(lacks)}" if lacks else None


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """A browser whose profile and downloads lie in a folder."""
    if reason := missing():
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def viewed(path: Path) -> Iterator[str]:
    """The address at which the command serves a store."""
    with subprocess.Popen(
        [sys.executable, "-m", "retrieval_store", "view", str(path), "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http\S+", line)
            assert found, line
            yield found[0]
        finally:
            process.kill()


class Page:
    """The page in a browser. folder: where downloads go; name: of the test, for screenshots."""

    def __init__(self, driver: Any, address: str, folder: Path, name: str) -> None:
        self.driver, self.address, self.folder = driver, address, folder
        self.name = re.sub(r"\W+", "_", name)

    def opened(self, query: str = "", hash_of: str = "") -> "Page":
        """Opened without stored data, and with nothing of an earlier test running."""
        root, _, token = self.address.partition("#")
        self.driver.get("about:blank")
        self.sized(1280, 900)
        self.coloured("light")
        self.allowed("clipboardReadWrite", "clipboardSanitizedWrite")
        self.driver.execute_cdp_cmd(
            "Storage.clearDataForOrigin", {"origin": root[: -len("/view")], "storageTypes": "all"}
        )
        self.driver.get(f"{root}{query}#{token}{hash_of}")
        self.until(lambda: self.found(".head"))
        return self

    def sized(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def coloured(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def allowed(self, *permissions: str) -> None:
        self.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": [*permissions]})

    def found(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        """The first matching element, as soon as it exists."""
        return self.until(lambda: next(iter(self.found(selector)), None))

    def text(self, selector: str) -> str:
        return self.read("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)"
        return self.read(script, selector)

    def read(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def until(self, met: Callable[[], Any]) -> Any:
        """A condition's value, once it has one."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.driver, PATIENCE, 0.05, [StaleElementReferenceException])
        return wait.until(lambda _: met())

    def button(self, name: str, within: str = "") -> Any:
        """The button with this name, once it is enabled."""
        path = f"//button[contains(normalize-space(.), {name!r}) or @aria-label={name!r}]"

        def pressable() -> Any:
            root = self.one(within) if within else self.driver
            there = root.find_elements("xpath", f".{path}" if within else path)
            return next((one for one in there if one.is_enabled() and one.is_displayed()), None)

        return self.until(pressable)

    def click(self, element: Any) -> None:
        if isinstance(element, str):
            element = self.one(element)
        self.read("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def press(self, name: str, within: str = "") -> None:
        self.click(self.button(name, within))

    def choose(self, selector: str, value: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.one(selector)).select_by_value(value)

    def write(self, selector: str, text: str) -> None:
        """Replace a field's text by typing another."""
        from selenium.webdriver.common.keys import Keys

        field = self.one(selector)
        self.read("arguments[0].scrollIntoView({block: 'center'})", field)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.DELETE)
        field.send_keys(text)

    def keys(self, *keys: str) -> None:
        """Press keys at the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def collection(self, name: str) -> None:
        self.click(self.button(f"Collection {name}"))
        self.until(lambda: self.text(".details h2") == name)

    def view(self, name: str) -> None:
        self.click(f"#tab-{name}")
        self.until(lambda: self.one(f"#tab-{name}").get_attribute("aria-selected") == "true")

    def ask(self, text: str) -> None:
        self.view("query")
        self.write("#question", text)
        self.press("Ask", ".ask-line")
        self.until(lambda: "text=" in self.driver.current_url)
        self.settled()

    def settled(self) -> None:
        """Wait until no request is running."""
        self.until(
            lambda: (
                self.found(".result") and not self.found('[aria-busy="true"], .loading:not(:empty)')
            )
        )

    def ids(self, side: str = "A") -> list[str]:
        return self.texts(f'.result[data-side="{side}"] .hit button.id')

    def explain(self, passage: str) -> None:
        self.write(".why textarea", passage)
        self.press("Say why")
        self.one(".reason")
        self.settled()

    def copied(self, side: str = "A") -> str:
        """The text that "Copy as Python" puts into the clipboard."""
        self.press("Copy as Python", f'.result[data-side="{side}"]')
        self.until(lambda: "copied" in self.text(f'.result[data-side="{side}"] .copy'))
        script = (
            "navigator.clipboard.readText().then(arguments[0], (error) => arguments[0](`${error}`))"
        )
        return self.driver.execute_async_script(script)

    def overflowing(self) -> list[str]:
        """Elements that reach beyond the right edge, if the page scrolls sideways."""
        script = """
            const edge = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= edge) return [];
            const all = [...document.querySelectorAll("body *")];
            const beyond = all.filter((one) => one.getBoundingClientRect().right > edge + 1);
            return beyond.map((one) => one.outerHTML.slice(0, 120))"""
        return self.read(script)

    def shot(self, name: str) -> None:
        """Save a screenshot if VIEW_SCREENSHOTS is set."""
        if folder := os.environ.get("VIEW_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{self.name}_{name}.png"))

    def complaints(self) -> list[str]:
        """The browser's complaints: errors of scripts, and violations of the policy."""
        logged = self.driver.get_log("browser")
        reports = [one["message"] for one in logged if one["level"] == "SEVERE"]
        return [one for one in reports if "status of 40" not in one]
