"""A run that generates, and a browser that a test can click in.

The browser is driven by the DevTools protocol over a pipe, which needs no WebSocket library.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from select import select
from typing import Any

import pytest

from vtok.cli.main import main

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# No host but this machine has an address, so that anything loaded from elsewhere fails.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-component-update", "--disable-sync",
    "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)  # fmt: skip

JOINT = (
    "objective=joint", "visual_head.width=16", "visual_head.steps=2", "decoder.num_frames=4", "decoder.size=16",
    "decoder.heads=2", "decoder.head_dim=12", "decoder.double_layers=1", "decoder.single_layers=0",
    "generation.steps=2", "generation.max_clips=2",
)  # fmt: skip


class Browser:
    """One page of a headless Chromium.

    Attributes:
        addresses: every address that the page has requested.
    """

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._to = os.pipe()
        self._from, replies = os.pipe()
        # The browser reads from file 3 and writes to file 4.
        shell = f'exec "$0" "$@" 3<&{commands} 4>&{replies}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(commands, replies), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(replies)
        self._numbers, self._left, self._session = count(1), b"", ""
        self.addresses: list[str] = []
        target = next(one for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self._call("Network.enable")

    def open(self, url: str, *, width: int = 1300, height: int = 1000) -> None:
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Page.navigate", url=url)

    def value(self, program: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=program, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, program: str, *, seconds: float = 90) -> Any:
        """The value of an expression, as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.value(program)):
            assert time.monotonic() < end, f"{program}: still false\n{self.value('document.body.innerText')}"
            time.sleep(0.2)
        return value

    def click(self, selector: str) -> None:
        """Click in the middle of an element, as a mouse does."""
        box = self.value(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); "
            "one.scrollIntoView({block: 'nearest'}); const box = one.getBoundingClientRect(); "
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=13)

    def screenshot(self) -> bytes:
        """A PNG of what is visible."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _call(self, method: str, **given: Any) -> dict[str, Any]:
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps({"id": number, "method": method, "params": given, **session}).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("method") == "Network.requestWillBeSent":
                self.addresses.append(message["params"]["request"]["url"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            ready, _, _ = select([self._from], [], [], 60)
            assert ready, "the browser does not answer"
            part = os.read(self._from, 1 << 20)
            assert part, "the browser has ended"
            self._left += part
        line, _, self._left = self._left.partition(b"\0")
        return json.loads(line)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium to look with")
    opened = Browser(program, tmp_path / "profile")
    yield opened
    opened.close()


@pytest.fixture(scope="package")
def joint_run(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str]) -> Path:
    """A run of a few steps that understands and generates videos."""
    outputs = tmp_path_factory.mktemp("outputs")
    assert main(["train", *tiny_settings, *JOINT, f"outputs={outputs}"]) == 0
    (found,) = (outputs / "runs").iterdir()
    return found
