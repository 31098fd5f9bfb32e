// One item of a queue at a time. Everything from data is set as text, never as HTML.

const POLL_MS = 1000; // how often to look for new items where none waits
const MOST_LOOKS = 100; // whether a page has put the box in place
const LOOK_MS = 20;
const PATIENCE_MS = 3000; // for the kernel to take what was done
const DEAF = "No answer from the kernel yet. A busy one takes this when it is idle; after a restart, "
  + "run the cell again.";
const SUPPRESS = "data-lm-suppress-shortcuts"; // keeps keys such as y from JupyterLab's commands

function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false) made.setAttribute(key, value);
  }
  made.append(...content);
  return made;
}

function shownInput(input) {
  const box = element("div", { class: "th-input" }, element("b", {}, `${input.name}: `));
  if (input.url && input.type.startsWith("image/")) {
    box.append(element("img", { src: input.url, alt: `${input.name}: ${input.text}` }));
  } else if (input.url) {
    box.append(element("audio", { src: input.url, controls: "", "aria-label": input.name }));
  } else {
    box.append(input.text);
  }
  return box;
}

// Whether a person waits for the box: the cell that made it has the focus, or the cell below.
function isAwaited(root) {
  const at = document.activeElement;
  return !at || at === document.body || at.contains(root) || at.previousElementSibling?.contains(root);
}

// A box that is not in the page cannot be focused, and JupyterLab renders it before it is.
function takeKeys(root, looks) {
  if (!root.isConnected) {
    if (looks) setTimeout(() => takeKeys(root, looks - 1), LOOK_MS);
  } else if (isAwaited(root)) {
    (root.querySelector("input") || root).focus({ preventScroll: true });
  }
}

// Shortcuts of the page, such as Ctrl-S, stay the page's; so does Shift-Enter, which goes on.
function isOfPage(event) {
  return event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && event.key === "Enter");
}

function render({ model, el }) {
  const root = element("div", {
    class: "thresher th-label", tabindex: "0", role: "group", "aria-label": "Items to label",
    [SUPPRESS]: "true",
  });
  const state = () => model.get("shown");
  let patience = null;
  const send = (what, more = {}) => {
    const item = state().item;
    model.send({ do: what, number: item ? item.number : null, ...more });
    if (what === "look" || patience) return;
    patience = setTimeout(() => {
      root.querySelector("[role=status]").textContent = DEAF;
    }, PATIENCE_MS);
  };
  const button = (key, text, action, disabled = false) =>
    element("button", { type: "button", onclick: action, disabled: disabled ? "" : false },
      element("kbd", {}, key), ` ${text}`);

  function draw() {
    clearTimeout(patience);
    patience = null;
    const { item, n_answered, n_items, can_undo, said } = state();
    const typing = root.contains(document.activeElement) ? document.activeElement : null;
    const counts = `${n_answered} of ${n_items} answered`;
    const head = element("div", { class: "th-muted" },
      element("progress", { max: Math.max(n_items, 1), value: n_answered, "aria-label": counts }),
      ` ${item ? `${item.oracle}: ` : ""}${counts}`);
    const parts = [head];
    const keys = element("div", { class: "th-keys" });
    if (item) {
      parts.push(element("div", { class: "th-question" }, item.question));
      parts.push(...item.inputs.map(shownInput));
      for (const [key, text] of item.choices) {
        keys.append(button(key, text, () => send("answer", { said: key })));
      }
      if (!item.choices.length) {
        keys.append(element("input", {
          type: "text", inputmode: "decimal", "aria-label": item.question, placeholder: "a number",
        }));
        keys.append(button("\u21b5", "answer", answerTyped));
      }
      keys.append(button("s", "later", () => send("later")));
    } else {
      parts.push(element("div", { class: "th-question" }, "Nothing waits now; items appear here."));
    }
    keys.append(button("u", "undo", () => send("undo"), !can_undo));
    keys.append(button("q", "done", () => send("done")));
    keys.append(element("span", { class: "th-hint" }, "Click here, then the keys answer."));
    parts.push(keys, element("div", { class: "th-muted", role: "status" }, said));
    root.replaceChildren(...parts);
    if (typing) (root.querySelector("input") || root).focus();
  }

  function answerTyped() {
    const said = root.querySelector("input").value.trim();
    if (said) send("answer", { said });
  }

  const share = (event) => root.toggleAttribute(SUPPRESS, !isOfPage(event));
  window.addEventListener("keydown", share, true); // before the page looks

  root.addEventListener("keydown", (event) => {
    if (isOfPage(event)) return;
    const item = state().item;
    const inField = event.target.tagName === "INPUT";
    const onButton = event.target.tagName === "BUTTON" && [" ", "Enter"].includes(event.key);
    let done = true;
    if (inField && event.key === "Enter") answerTyped();
    else if (inField && !["s", "u", "q"].includes(event.key)) done = false;
    else if (onButton) done = false;
    else if (event.repeat) done = event.key.length === 1;
    else if (item && item.choices.some(([key]) => key === event.key)) {
      send("answer", { said: event.key });
    } else if (item && event.key === "s") send("later");
    else if (event.key === "u") send("undo");
    else if (event.key === "q") send("done");
    else done = false;
    if (done) event.preventDefault();
    event.stopPropagation();
  });

  model.on("change:shown", draw);
  draw();
  el.append(root);
  takeKeys(root, MOST_LOOKS);
  const timer = setInterval(() => state().item || send("look"), POLL_MS);
  return () => {
    clearInterval(timer);
    clearTimeout(patience);
    window.removeEventListener("keydown", share, true);
    model.off("change:shown", draw);
  };
}

export default { render };
