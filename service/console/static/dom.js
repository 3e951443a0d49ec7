// Makes elements. Text is always set as text, never parsed, so no data can become markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const text = (value, attributes = {}) => h("bdi", { dir: "auto", ...attributes }, String(value ?? ""));

let numFields = 0;
export function field(label, control, hint) {
  control.id ||= `field-${++numFields}`;
  const shown = hint ? h("p", { class: "hint", id: `${control.id}-hint` }, hint) : null;
  if (shown) control.setAttribute("aria-describedby", shown.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, shown);
}

let silence;
export function say(message) {
  const said = document.getElementById("said");
  said.textContent = message;
  clearTimeout(silence);
  silence = setTimeout(() => { said.textContent = ""; }, 6000);
}

export const percent = (share) => (share === null || share === undefined ? "not measured" : `${(100 * share).toFixed(1)} %`);
export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
export const when = (time) => h("time", { datetime: time }, new Date(time).toLocaleString());

export function problem(error) {
  const known = error.problem ?? {};
  const errors = (known.errors ?? []).map((item) => h("li", {}, text(`${(item.loc ?? []).join(" › ")}: ${item.msg}`)));
  return h("div", { class: "panel problem", role: "alert" }, h("strong", {}, known.title ?? "The request failed"),
    h("p", { class: "text" }, text(known.detail ?? error.message)), known.next_step && h("p", {}, "Next step: ", text(known.next_step)),
    errors.length > 0 && h("ul", {}, errors));
}

// Asks once before something changes that is live. Resolves to whether the user agreed.
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "question", onclose: () => { resolve(dialog.returnValue === "yes"); dialog.remove(); } },
      h("h2", { id: "question" }, question),
      h("div", { class: "row" },
        h("button", { type: "button", autofocus: true, onclick: () => dialog.close("no") }, "Cancel"),
        h("button", { type: "button", class: "main", onclick: () => dialog.close("yes") }, action)));
    document.body.append(dialog);
    dialog.showModal();
  });
}

// A button that waits for its work, and shows a refusal in `place`.
export function button(label, place, work, attributes = {}) {
  const made = h("button", { type: "button", ...attributes, onclick: async () => {
    made.disabled = true;
    try { await work(); } catch (error) { place.replaceChildren(problem(error)); } finally { made.disabled = false; }
  } }, label);
  return made;
}
