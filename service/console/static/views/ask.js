// Ask: continue a prompt with one version, or with two side by side.
import { at, call, events } from "../api.js";
import { button, count, field, h, percent, problem, say, text } from "../dom.js";

export async function ask(place, { may, query, signal }) {
  const known = (await call(at("/versions", { limit: 100 }))).items.filter((version) => !version.removed && version.status !== "discarded");
  const select = (first) => h("select", {}, h("option", { value: "" }, first), known.map((version) => h("option", { value: version.id }, `${version.id} (${version.status})`)));
  const prompt = h("textarea", { required: true, dir: "auto" });
  prompt.value = query.get("prompt") ?? "";
  const [first, second] = [select("live version"), select("no other version")];
  const length = h("input", { type: "number", min: 1, max: 1024, value: 24 });
  const answers = h("div", { "aria-live": "polite" });
  const refused = h("div", {});
  const run = async () => {
    refused.replaceChildren();
    const wanted = second.value ? [first.value, second.value] : [first.value];
    const panels = wanted.map(() => h("div", { class: "panel" }));
    answers.replaceChildren(h("div", { class: "two" }, panels));
    const done = await Promise.all(wanted.map((version, i) => answer(panels[i], prompt.value, version, Number(length.value), signal)));
    if (done.length === 2 && done.every(Boolean)) markDifference(done);
    done.forEach((found, i) => found && finish(panels[i], prompt.value, found, may));
    say("The answer is complete.");
  };
  place.append(h("form", { onsubmit: (event) => { event.preventDefault(); go.click(); } },
    field("Prompt", prompt, "The model continues this text."),
    h("div", { class: "row" }, field("Version", first), field("Compare with", second), field("Length in tokens", length))));
  const go = button("Ask", refused, async () => { if (prompt.reportValidity()) await run(); }, { class: "main" });
  place.append(go, refused, answers);
}

async function answer(panel, prompt, version, maxNewTokens, signal) {
  const heading = h("h2", {}, version || "live version");
  const shown = h("p", { class: "text", dir: "auto", tabindex: 0, role: "group", "aria-label": "answer" });
  panel.append(heading, shown);
  const found = { text: "", logprobs: [], shown };
  try {
    const body = { prompt, stream: true, max_new_tokens: maxNewTokens, logprobs: 5, ...(version && { version }) };
    for await (const event of events("/generate", { method: "POST", body, signal })) {
      if (event.name === "problem") throw Object.assign(new Error(event.data.detail), { problem: event.data });
      if (event.name === "end") { found.version = event.data.version; found.usage = event.data.usage; }
      else { found.text += event.data.text ?? ""; found.logprobs.push(...(event.data.logprobs ?? [])); shown.textContent = found.text; }
    }
  } catch (error) {
    if (error.name !== "AbortError") panel.append(problem(error));
    return null;
  }
  heading.textContent = `Answered by ${found.version}`;
  return found;
}

function markDifference([a, b]) {
  let same = 0;
  const [left, right] = [[...a.text], [...b.text]];
  while (same < left.length && left[same] === right[same]) same += 1;
  for (const [found, letters] of [[a, left], [b, right]]) {
    const rest = letters.slice(same).join("");
    found.shown.replaceChildren(letters.slice(0, same).join(""), ...(rest ? [h("mark", {}, rest)] : []));
  }
  say(a.text === b.text ? "Both versions answer the same." : "The versions answer differently; the difference is marked.");
}

function finish(panel, prompt, found, may) {
  const next = found.logprobs[0]?.top ?? [];
  panel.append(h("p", { class: "hint" }, `${count(found.usage.prompt_tokens, "token")} read, ${count(found.usage.completion_tokens, "token")} written`));
  if (next.length) panel.append(h("details", {}, h("summary", {}, "Probabilities of the next token"),
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Token"), h("th", { scope: "col" }, "Probability"))),
      h("tbody", {}, next.map((item) => h("tr", {}, h("td", {}, text(JSON.stringify(item.token))), h("td", {}, percent(Math.exp(item.logprob)))))))));
  if (may("edit")) panel.append(h("p", {}, h("a", { href: `#/correct?${new URLSearchParams({ sentence: prompt, answer: found.text.trim().slice(0, 200) })}` }, "This is wrong: correct it")));
}
