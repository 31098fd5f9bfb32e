"""Labels by people in a cell: the widget's state and messages, and its page in a real browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests_support_notebook import Kernel, Shell

import thresher
from thresher.dbapi import Connection
from thresher.notebook import LabelWidget, label
from thresher.oracles.human_queue import Queue, Task

FINE = Task("v", "is_fine", "Is <b>this</b> fine?", "boolean")
KIND = Task("w", "kind", "Which?", "label", ("good", "bad", "ugly"))
SIZE = Task("x", "size", "How large?", "number")


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 3), (200, 0, 0)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    queue = Queue(tmp_path / "people.queue")
    queue.ask(FINE, {f"k{i}": {"text": f"note {i} <img src=x onerror=alert(1)>"} for i in range(3)})
    return queue


def item(widget: LabelWidget) -> dict[str, Any]:
    found = widget.shown["item"]
    assert isinstance(found, dict)
    return found


def press(widget: LabelWidget, said: str) -> None:
    widget._handle_custom_msg({"do": "answer", "number": item(widget)["number"], "said": said}, [])


def test_a_person_answers_item_after_item(queue: Queue) -> None:
    widget = label(queue.path, by="ada")
    assert item(widget)["choices"] == [["y", "yes"], ["n", "no"]]
    assert item(widget)["question"] == "Is <b>this</b> fine?"
    first = item(widget)["number"]
    press(widget, "y")
    assert widget.shown["said"] == "Answered: yes"
    assert (widget.shown["n_answered"], widget.shown["n_items"]) == (1, 3)
    widget.take({"do": "answer", "number": first, "said": "n"})  # pressed twice
    assert queue.answers("v", ["k0", "k1"]) == {"k0": True}
    press(widget, "x")
    assert widget.shown["said"] == "'x' is none of these."
    widget.take({"do": "later", "number": item(widget)["number"]})
    assert item(widget)["inputs"][0]["text"].startswith("note 2")
    press(widget, "n")
    assert item(widget)["inputs"][0]["text"].startswith("note 1")
    widget.take({"do": "undo"})
    assert widget.shown["said"] == "The last answer is taken back."
    assert item(widget)["inputs"][0]["text"].startswith("note 2")
    press(widget, "y")
    press(widget, "y")
    assert widget.shown["item"] is None
    assert queue.answers("v", ["k0", "k1", "k2"]) == {"k0": True, "k1": True, "k2": True}
    queue.ask(FINE, {"k9": {"text": "late"}})
    widget.take({"do": "look", "number": None})
    assert item(widget)["inputs"] == [{"name": "text", "text": "late"}]
    for _ in range(4):
        widget.take({"do": "undo"})
    assert widget.shown["said"] == "There is nothing to take back."
    for strange in ({}, {"do": 5}, {"do": "answer"}, {"do": "answer", "number": "1", "said": []}):
        widget.take(strange)
    assert queue.counts() == (0, 4)


def test_labels_and_numbers(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "q")
    queue.ask(KIND, {"k": {"text": "a"}})
    queue.ask(SIZE, {"k": {"text": "b"}})
    widget = label(queue.path)
    assert item(widget)["choices"] == [["1", "good"], ["2", "bad"], ["3", "ugly"]]
    press(widget, "3")
    assert item(widget)["choices"] == []
    press(widget, "much")
    assert widget.shown["said"] == "'much' is none of these."
    press(widget, "nan")
    assert widget.shown["said"] == "'nan' is none of these."
    press(widget, "2.5")
    assert queue.answers("w", ["k"]) == {"k": "ugly"}
    assert queue.answers("x", ["k"]) == {"k": 2.5}
    assert label(queue.path, "size").shown["n_items"] == 1


def test_images_and_sounds_are_shown_and_nothing_else_is_read(tmp_path: Path) -> None:
    queue, picture = Queue(tmp_path / "q"), tmp_path / "a.png"
    picture.write_bytes(png())
    (tmp_path / "b.png").write_text("no picture")
    inputs = {
        "bytes": "(70 bytes)", "path": str(picture), "other": str(tmp_path / "b.png"),
        "secret": "/etc/passwd", "far": "https://example.org/a.png", "none": "x" * 5000 + ".png",
    }  # fmt: skip
    queue.ask(FINE, {"k": inputs}, {"k": {"bytes": b"RIFF\x04\x00\x00\x00WAVEfmt "}})
    shown = {one["name"]: one for one in item(label(queue.path))["inputs"]}
    assert shown["bytes"]["type"] == "audio/wav"
    assert shown["path"]["type"] == "image/png"
    data = shown["path"]["url"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(data) == png()
    assert not [name for name in ("other", "secret", "far", "none") if "url" in shown[name]]


@pytest.fixture
def con(tmp_path: Path) -> Iterator[Connection]:
    with thresher.connect() as con:
        con.execute(
            "CREATE ORACLE is_red(picture BLOB) RETURNS BOOLEAN USING human "
            f"WITH (queue = '{tmp_path / 'red.queue'}', question = 'Red?', wait = 0)"
        )
        yield con


def test_a_query_asks_and_goes_on_from_the_answers(con: Connection) -> None:
    con.connection.execute("CREATE TABLE pictures AS SELECT ?::BLOB AS p", [png()])
    with pytest.raises(thresher.UnansweredError):
        con.execute("SELECT count(*) FROM pictures WHERE is_red(p)")
    widget = label(con)
    (shown,) = item(widget)["inputs"]
    assert shown["url"].startswith("data:image/png;base64,")
    press(widget, "y")
    found = con.execute("SELECT count(*) FROM pictures WHERE is_red(p)").fetchall()
    assert found == [(1,)]


def test_the_magic_finds_the_queue(con: Connection, shell: Shell, queue: Queue) -> None:
    shell.names.update(con=con)
    shell.ran("%thresher --connection con")
    for line in ("label", "label is_red", f"label '{queue.path}'"):
        assert isinstance(shell.ran(f"%thresher {line}").result, LabelWidget)
    failed = shell.ip.run_cell("%thresher SELECT is_red('a'::BLOB)")
    told = failed.error_in_exec._render_traceback_()
    assert told[-1] == "In this notebook: %thresher label"
    for line, said in (
        ("label nobody", "there is no oracle nobody that people answer. People answer is_red."),
        ("label a b", "write %thresher label"),
    ):
        assert said in str(shell.ip.run_cell(f"%thresher {line}").error_in_exec)
    con.execute(
        "CREATE ORACLE later(t VARCHAR) RETURNS BOOLEAN USING human "
        "WITH (queue = 'q', question = '')"
    )
    with pytest.raises(thresher.ProgrammingError, match="People answer is_red, later"):
        label(con)
    with pytest.raises(thresher.ProgrammingError, match="there is no queue"):
        label("nowhere.queue")


def test_what_a_notebook_keeps_of_it(kernel: Kernel, queue: Queue) -> None:
    view = "application/vnd.jupyter.widget-view+json"
    reply = kernel.ran(
        f"from thresher.notebook import label\nbox = label({str(queue.path)!r})\nbox"
    )
    (shown,) = (one for one in reply.outputs if one["msg_type"] == "display_data")
    assert shown["content"]["data"][view]["model_id"]
    kept = "A box to label items was here: run the cell to go on."
    assert shown["content"]["data"]["text/plain"] == kept
    assert shown["content"]["data"]["text/html"] == f"<p><small>{kept}</small></p>"
    answers = "".join(
        f"box.take({{'do': 'answer', 'number': {n}, 'said': 'y'}}); " for n in (1, 2, 3)
    )
    done = "box.take({'do': 'done'})"
    for code, line in (
        (done, "labels: 0 of 3 answered; run the cell again to go on"),
        (answers + done, "labels: 3 of 3 answered"),
    ):
        told = [
            one
            for one in kernel.ran(code).outputs
            if "display_id" in one["content"].get("transient", {})
        ]
        assert [one["msg_type"] for one in told] == ["update_display_data"]
        assert told[0]["content"]["transient"] == shown["content"]["transient"]
        assert told[0]["content"]["data"]["text/plain"] == line
        assert view not in told[0]["content"]["data"]
    assert not kernel.ran("1").texts("update_display_data")


def test_it_folds_when_all_is_answered_and_another_cell_runs(kernel: Kernel, queue: Queue) -> None:
    kernel.ran(f"from thresher.notebook import label\nbox = label({str(queue.path)!r})\nbox")
    for n in (1, 2, 3):
        assert not kernel.ran(f"box.take({{'do': 'answer', 'number': {n}, 'said': 'y'}})").texts(
            "update_display_data"
        )
    assert kernel.ran("1").texts("update_display_data") == ["labels: 3 of 3 answered"]
    assert not kernel.ran("1").texts("update_display_data")


PAGE = """<!doctype html><meta charset="utf-8"><body><div id="root"></div><pre id="out"></pre>
<script type="module">
const states = {states};
const sent = [];
let shown = states[0], changed = null;
const model = {{
  get: () => shown, send: (message) => sent.push(message),
  on: (name, call) => {{ changed = call; }}, off: () => {{ changed = null; }},
}};
const say = (text) => {{ document.getElementById("out").textContent = text; }};
try {{
  const source = await import("data:text/javascript;base64,{source}");
  const root = document.getElementById("root"), cell = root.parentElement;
  root.remove();
  const end = source.default.render({{ model, el: root }});
  const box = root.querySelector(".th-label");
  await new Promise((done) => setTimeout(done, 100));
  cell.append(root); // JupyterLab does so after it has rendered
  await new Promise((done) => setTimeout(done, 100));
  let windowed = null;
  document.addEventListener("keydown", (event) => {{
    windowed = event.target.closest("[data-lm-suppress-shortcuts]") === null;
  }}, true); // as JupyterLab listens
  const press = (key, more = {{}}) => (document.activeElement || box).dispatchEvent(
    new KeyboardEvent("keydown", {{ key, bubbles: true, cancelable: true, ...more }}));
  const to = (i) => {{ shown = states[i]; changed(); }};
  const seen = {{ focused: document.activeElement === box, texts: [], images: 0 }};
  let leaked = 0;
  document.body.addEventListener("keydown", () => {{ leaked += 1; }});
  const ofPage = [];
  const ctrl = {{ ctrlKey: true }}, shift = {{ shiftKey: true }};
  for (const [key, more] of [["d"], ["y", ctrl], ["Enter", shift], ["x"]]) {{
    press(key, more);
    ofPage.push(windowed);
  }}
  seen.ofPage = ofPage;
  press("y"); press("y", {{ repeat: true }});
  press("s"); press("u");
  seen.texts.push(box.querySelector(".th-question").textContent);
  seen.injected = box.querySelectorAll("b b, script, [onerror]").length;
  box.querySelectorAll("button")[1].click();
  to(1); press("2"); seen.images = box.querySelectorAll("img").length;
  to(2);
  const field = box.querySelector("input");
  field.focus(); field.value = "2.5"; press("Enter");
  field.focus(); press("q");
  await new Promise((done) => setTimeout(done, 3500));
  seen.deaf = box.querySelector("[role=status]").textContent;
  to(3);
  seen.texts.push(box.querySelector(".th-question").textContent);
  seen.names = [...box.querySelectorAll("progress, input, img")].every(
    (one) => one.getAttribute("aria-label") || one.getAttribute("alt"));
  const before = sent.length;
  await new Promise((done) => setTimeout(done, 1500));
  seen.looks = sent.length > before;
  end();
  say(JSON.stringify({{ sent: sent.slice(0, before), seen, leaked }}));
}} catch (error) {{ say(`failed: ${{error}}`); }}
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_keys_in_a_browser_answer_the_queue(tmp_path: Path, queue: Queue) -> None:
    picture = {"p": "(70 bytes)"}
    queue.ask(KIND, {"k": picture}, {"k": {"p": png()}})
    queue.ask(SIZE, {"k": {"text": "b"}})
    widget, kind, size = (
        label(queue.path, "is_fine"),
        label(queue.path, "kind"),
        label(queue.path, "size"),
    )
    waits = dict(widget.shown, item=None)
    states = json.dumps([widget.shown, kind.shown, size.shown, waits]).replace("<", "\\u003c")
    source = base64.b64encode(LabelWidget._esm.encode()).decode()
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(states=states, source=source))
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    told = json.loads(html.unescape(found[1]))
    number = item(widget)["number"]
    assert told["sent"] == [
        {"do": "answer", "number": number, "said": "y"},
        {"do": "later", "number": number},
        {"do": "undo", "number": number},
        {"do": "answer", "number": number, "said": "n"},
        {"do": "answer", "number": item(kind)["number"], "said": "2"},
        {"do": "answer", "number": item(size)["number"], "said": "2.5"},
        {"do": "done", "number": item(size)["number"]},
    ]
    seen = told["seen"]
    assert seen["texts"] == ["Is <b>this</b> fine?", "Nothing waits now; items appear here."]
    assert (seen["injected"], seen["images"]) == (0, 1)
    assert told["leaked"] == 2  # Ctrl-Y and Shift-Enter are not ours
    assert seen["ofPage"] == [False, True, True, False]
    assert seen["deaf"].startswith("No answer from the kernel yet.")
    assert seen["focused"]
    assert seen["names"]
    assert seen["looks"]
    for message, to in zip(told["sent"][-4:-1], (widget, kind, size), strict=True):
        to.take(message)  # what the page sends is what the widget takes
    assert queue.answers("v", ["k0"]) == {"k0": False}
    assert queue.answers("w", ["k"]) == {"k": "bad"}
    assert queue.answers("x", ["k"]) == {"k": 2.5}
