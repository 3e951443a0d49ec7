// The frame of the page: the key, the navigation and the views. A view's address is the fragment, which no server sees.
import { call, key } from "./api.js";
import { h, field, problem, say, text } from "./dom.js";
import { ask } from "./views/ask.js";
import { correct } from "./views/correct.js";
import { edits } from "./views/edits.js";
import { operations } from "./views/operations.js";
import { versions } from "./views/versions.js";
import { watch } from "./views/watch.js";

const SCOPES = ["read", "edit", "admin"];
const VIEWS = { ask: ["Ask", ask, "read"], correct: ["Correct", correct, "edit"], watch: ["Watch", watch, "read"], edits: ["Edits", edits, "read"], versions: ["Versions", versions, "read"], operations: ["Operations", operations, "read"] };
const main = document.getElementById("main");
let sender = null;
let leaving = new AbortController();
const may = (scope) => sender !== null && SCOPES.indexOf(sender.scope) >= SCOPES.indexOf(scope);

function themeButton() {
  const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const made = h("button", { type: "button", onclick: () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    localStorage.setItem("errata-theme", document.documentElement.dataset.theme);
    made.textContent = isDark() ? "Light" : "Dark";
  } }, isDark() ? "Light" : "Dark");
  return made;
}

function askForKey(reason) {
  sender = null;
  frame(null);
  const input = h("input", { type: "password", autocomplete: "off", required: true });
  main.replaceChildren(h("h1", {}, "Your API key"), reason && problem({ problem: reason }),
    h("form", { onsubmit: (event) => { event.preventDefault(); key.set(input.value.trim()); start(); } },
      field("API key", input, "The key stays in this tab until you close it. An administrator makes one with: errata keys add NAME --scope edit"),
      h("div", { class: "row" }, h("button", { class: "main" }, "Use this key"))));
  input.focus();
}

function frame(current) {
  const links = sender === null ? [] : Object.entries(VIEWS).filter(([, [, , scope]]) => may(scope));
  document.getElementById("nav").replaceChildren(...links.map(([name, [label]]) => h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, label)));
  document.getElementById("who").replaceChildren(...(sender === null ? [] : [
    h("span", {}, text(sender.name ?? "local"), ` may ${sender.scope}`),
    key.get() && h("button", { type: "button", onclick: () => { key.forget(); location.reload(); } }, "Forget key")].filter(Boolean)), themeButton());
}

async function show() {
  if (sender === null) return;
  leaving.abort();
  leaving = new AbortController();
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  const current = VIEWS[name] && may(VIEWS[name][2]) ? name : "ask";
  const [label, view] = VIEWS[current];
  frame(current);
  document.title = `${label} · Errata`;
  const place = h("div", {});
  main.replaceChildren(h("h1", {}, label), place);
  main.focus({ preventScroll: true });
  try {
    await view(place, { may, argument: rest[0], query: new URLSearchParams(query), signal: leaving.signal });
  } catch (error) {
    if (error.name !== "AbortError") place.append(problem(error));
  }
}

async function start() {
  try {
    sender = await call("/whoami");
    say("");
    await show();
  } catch (error) {
    if (error.status !== 401) { frame(null); main.replaceChildren(h("h1", {}, "Errata"), problem(error)); }
  }
}

const theme = localStorage.getItem("errata-theme");
if (theme) document.documentElement.dataset.theme = theme;
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("key-needed", (event) => { const had = key.get(); key.forget(); askForKey(had ? event.detail : null); });
addEventListener("hashchange", show);
start();
