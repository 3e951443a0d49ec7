// Watch: a batch from queued to its end, with its report.
import { at, call, events, part } from "../api.js";
import { button, confirmed, count, field, h, percent, problem, say, text, when } from "../dom.js";

const ENDS = { applied: "It is live.", candidate: "It passed the checks and waits to be promoted.", reported: "Preview: nothing was changed.", rejected: "The checks refused it; nothing was changed.", failed: "It failed; nothing was changed.", cancelled: "It was cancelled.", discarded: "It was discarded." };

export async function watch(place, { may, argument, signal }) {
  if (!argument) return listed(place);
  const state = h("div", {}), report = h("div", {}), refused = h("div", {});
  place.append(h("p", {}, "Batch ", text(argument)), state, refused, report);
  for await (const event of events(`/batches/${part(argument)}/events`, { signal })) {
    if (event.name === "problem") { refused.replaceChildren(problem({ problem: event.data })); return undefined; }
    state.replaceChildren(...progress(event.data, may, refused));
    say(`${event.data.status}${event.data.progress ? `: ${event.data.progress.phase}` : ""}`);
    if (event.data.edits) report.replaceChildren(...reported(event.data));
  }
  return undefined;
}

function progress(batch, may, refused) {
  const step = batch.progress;
  const isOpen = !ENDS[batch.status];
  return [h("p", {}, h("span", { class: `badge ${batch.status === "rejected" || batch.status === "failed" ? "bad" : "good"}`, id: "status" }, batch.status), " ", ENDS[batch.status] ?? "", batch.version && ` Version ${batch.version}.`),
    step && isOpen && h("div", {}, h("p", { class: "hint" }, `${step.phase}: ${step.done} of ${step.total} steps`, step.eta_s !== null && `, about ${Math.ceil(step.eta_s)} s left`), h("progress", { max: step.total || 1, value: step.done, "aria-label": step.phase })),
    batch.error && h("div", { class: "panel problem" }, h("strong", {}, "Why, and what to do"), h("p", { class: "text" }, text(batch.error))),
    isOpen && may("edit") && button("Cancel the batch", refused, async () => { if (await confirmed("Cancel this batch?", "Cancel the batch")) await call(`/batches/${part(batch.id)}`, { method: "DELETE" }); }),
    batch.version && h("p", {}, h("a", { href: "#/versions" }, "Versions"), " · ", h("a", { href: "#/ask" }, "Ask again"))].filter(Boolean);
}

function reported(batch) {
  const report = batch.report ?? {};
  const culprits = new Set(report.culprits ?? []);
  const named = new Map(batch.edits.map((edit) => [edit.id, edit]));
  const limits = report.limits ?? {};
  const shares = [["New edits that hold", report.reliability, limits.min_reliability], ["Paraphrases that hold", report.generalization], ["Neighbours that kept their answer", report.specificity, limits.min_specificity], ["Guards kept", report.guards, limits.min_guards_kept]];
  const share = (value) => (value !== null && typeof value === "object" ? value.share : value);
  const found = shares.filter(([, value]) => typeof share(value) === "number");
  return [
    culprits.size > 0 && h("div", { class: "panel problem", id: "culprits" }, h("strong", {}, "To blame"), h("ul", {}, [...culprits].map((id) => h("li", {}, text(named.get(id)?.subject ?? id), " → ", text(named.get(id)?.target_new ?? ""))))),
    found.length > 0 && h("h2", {}, "Checks"),
    found.map(([label, value, limit]) => h("p", {}, `${label}: ${percent(share(value))}`, limit !== undefined && ` (at least ${percent(limit)})`, h("meter", { min: 0, max: 1, value: share(value), "aria-label": label }))),
    typeof report.drift === "number" && h("p", {}, `Drift: ${report.drift.toPrecision(3)} nats${limits.max_drift === undefined ? "" : ` of at most ${limits.max_drift} nats`}`),
    report.perplexity?.ratio !== undefined && h("p", {}, `Perplexity: ${report.perplexity.ratio.toFixed(3)} times the original`, limits.max_perplexity_rise !== undefined && `, at most ${(1 + limits.max_perplexity_rise).toFixed(2)} times`),
    (report.reasons ?? []).length > 0 && h("ul", {}, report.reasons.map((reason) => h("li", {}, text(reason)))),
    h("h2", {}, "Edits"), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "edits of the batch" }, h("table", {}, h("thead", {}, h("tr", {}, ["Subject", "Sentence", "New object", "Status", "Holds"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, batch.edits.slice(0, 200).map((edit) => h("tr", {}, h("td", {}, text(edit.subject)), h("td", {}, text(edit.prompt)), h("td", {}, text(edit.target_new)), h("td", {}, edit.status), h("td", {}, edit.holds === null ? "not tested" : edit.holds ? "yes" : "no")))))),
  ].flat().filter(Boolean);
}

async function listed(place) {
  const page = await call(at("/batches", { limit: 50 }));
  place.append(page.items.length ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "batches" }, h("table", {}, h("thead", {}, h("tr", {}, ["Batch", "Status", "Edits", "Author", "Accepted"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, page.items.map((batch) => h("tr", {}, h("td", {}, h("a", { href: `#/watch/${part(batch.id)}` }, batch.id)), h("td", {}, batch.status), h("td", {}, count(batch.edit_counts.total, "edit")), h("td", {}, text(batch.author ?? "local")), h("td", {}, when(batch.created))))))) : h("p", {}, "There are no batches yet. Correct a fact to make one."));
}
