// Edits: the live set and its history, page by page while the list scrolls; and the guards.
import { at, call, part, post, submit } from "../api.js";
import { button, confirmed, field, h, problem, say, text, when } from "../dom.js";

const STATES = ["live", "pending", "candidate", "superseded", "taken_out", "rolled_back", "dropped", "rejected", "failed", "cancelled"];

export async function edits(place, { may, query, signal }) {
  const subject = h("input", { dir: "auto", value: query.get("subject") ?? "" });
  const batch = h("input", { value: query.get("batch") ?? "" });
  const status = h("select", {}, h("option", { value: "" }, "all"), STATES.map((name) => h("option", { value: name }, name.replace("_", " "))));
  status.value = query.has("subject") || query.has("batch") ? "" : "live";
  const refused = h("div", {}), list = h("div", { class: "list", tabindex: 0, role: "region", "aria-label": "edits" });
  let cursor = null, busy = false, generation = 0, shown = 0;
  const more = async () => {
    if (busy || cursor === undefined) return;
    busy = true;
    const mine = generation;
    try {
      const page = await call(at("/edits", { subject: subject.value, batch: batch.value, status: status.value, cursor, limit: 200 }), { signal });
      if (mine !== generation) return;
      cursor = page.next ?? undefined;
      shown += page.items.length;
      list.append(...page.items.map((edit) => item(edit, may, refused)));
      if (!shown) list.append(h("p", { class: "item" }, "No edit matches."));
      say(`${shown} edits are listed${cursor ? "; scroll for more" : ""}.`);
    } catch (error) { if (error.name !== "AbortError") refused.replaceChildren(problem(error)); } finally { if (mine === generation) busy = false; }
  };
  list.addEventListener("scroll", () => { if (list.scrollTop + 2 * list.clientHeight > list.scrollHeight) more(); });
  const search = () => { generation += 1; busy = false; cursor = null; shown = 0; list.replaceChildren(); refused.replaceChildren(); return more(); };
  place.append(h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); search(); } }, field("Subject", subject), field("Batch", batch), field("Status", status), h("button", { class: "main" }, "Search")), refused, list, h("h2", {}, "Guards"), await guards(may));
  await search();
}

function item(edit, may, refused) {
  const history = h("div", {});
  const act = may("edit") && edit.status === "live" && button("Take out", refused, async () => {
    if (!await confirmed(`Take out the edit about ${edit.subject.slice(0, 100)}? The model answers as before it.`, "Take out")) return;
    const batch = await call(`/edits/${part(edit.id)}`, { method: "DELETE" });
    location.hash = `#/watch/${batch.id}`;
  }, { "aria-label": `Take out ${edit.id}` });
  const back = may("edit") && !edit.purged && ["taken_out", "superseded", "rolled_back"].includes(edit.status) && button("Restore", refused, async () => {
    if (!await confirmed(`Make the edit about ${edit.subject.slice(0, 100)} live again?`, "Restore")) return;
    const names = ["subject", "prompt", "target_new", "target_true", "relation", "paraphrases", "neighborhood", "protect", "source", "note"];
    const batch = await submit({ edits: [Object.fromEntries(names.filter((name) => edit[name] !== null).map((name) => [name, edit[name]]))] });
    location.hash = `#/watch/${batch.id}`;
  }, { "aria-label": `Restore ${edit.id}` });
  return h("article", { class: "item" }, h("p", {}, h("strong", {}, text(edit.subject)), " — ", text(edit.prompt), " → ", h("strong", {}, text(edit.target_new))),
    h("p", { class: "hint" }, edit.status.replace("_", " "), " · ", text(edit.author ?? "local"), " · ", when(edit.created), " · ", h("a", { href: `#/watch/${part(edit.batch)}` }, edit.batch), edit.source && [" · source: ", text(edit.source)], edit.note && [" · note: ", text(edit.note)]),
    button("History", refused, async () => {
      const page = await call(at("/edits", { subject: edit.subject, limit: 100 }));
      history.replaceChildren(h("ol", {}, page.items.filter((other) => other.relation === edit.relation).map((other) => h("li", {}, when(other.created), ": ", text(other.target_new), ` (${other.status.replace("_", " ")}, by `, text(other.author ?? "local"), ")", other.note && [", ", text(other.note)]))));
    }, { "aria-label": `History of ${edit.id}` }), " ", act || "", " ", back || "", history);
}

async function guards(may) {
  const place = h("div", {}), refused = h("div", {});
  const show = async () => {
    const page = await call(at("/guards", { limit: 500 }));
    place.replaceChildren(page.items.length ? h("ul", {}, page.items.map((guard) => h("li", {}, text(guard.prompt), " → ", text(guard.target), " ", may("admin") && button("Remove", refused, async () => { if (await confirmed("Remove this guard?", "Remove")) { await call(`/guards/${part(guard.id)}`, { method: "DELETE" }); await show(); } }, { "aria-label": `Remove guard ${guard.id}` })))) : h("p", {}, "There are no guards: facts that no edit may change."));
  };
  await show();
  if (!may("admin")) return place;
  const prompt = h("input", { dir: "auto" }), target = h("input", { dir: "auto" });
  return h("div", {}, place, h("div", { class: "row" }, field("Fact that must not change", prompt), field("Its answer", target), button("Add guard", refused, async () => { await post("/guards", { guards: [{ prompt: prompt.value, target: target.value }] }); say("The guard applies from the next version on."); await show(); })), refused);
}
