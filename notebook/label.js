// One item of a queue at a time. Everything from data is set as text, never as HTML.

const POLL_MS = 1000; // how often to look for new items where none waits

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

function render({ model, el }) {
  // Without the attribute JupyterLab would take keys such as y for itself.
  const root = element("div", {
    class: "thresher th-label", tabindex: "0", role: "group", "aria-label": "Items to label",
    "data-lm-suppress-shortcuts": "true",
  });
  const state = () => model.get("shown");
  const send = (what, more = {}) => {
    const item = state().item;
    model.send({ do: what, number: item ? item.number : null, ...more });
  };
  const button = (key, text, action, disabled = false) =>
    element("button", { type: "button", onclick: action, disabled: disabled ? "" : false },
      element("kbd", {}, key), ` ${text}`);

  function draw() {
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
    parts.push(keys, element("div", { class: "th-muted", role: "status" }, said));
    root.replaceChildren(...parts);
    if (typing) (root.querySelector("input") || root).focus();
  }

  function answerTyped() {
    const said = root.querySelector("input").value.trim();
    if (said) send("answer", { said });
  }

  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const item = state().item;
    const inField = event.target.tagName === "INPUT";
    const onButton = event.target.tagName === "BUTTON" && [" ", "Enter"].includes(event.key);
    let done = true;
    if (inField && event.key === "Enter") answerTyped();
    else if (inField && !["s", "u"].includes(event.key)) done = false;
    else if (onButton) done = false;
    else if (event.repeat) done = event.key.length === 1;
    else if (item && item.choices.some(([key]) => key === event.key)) {
      send("answer", { said: event.key });
    } else if (item && event.key === "s") send("later");
    else if (event.key === "u") send("undo");
    else done = false;
    if (done) event.preventDefault();
    event.stopPropagation();
  });

  model.on("change:shown", draw);
  draw();
  el.append(root);
  root.focus();
  const timer = setInterval(() => state().item || send("look"), POLL_MS);
  return () => {
    clearInterval(timer);
    model.off("change:shown", draw);
  };
}

export default { render };
