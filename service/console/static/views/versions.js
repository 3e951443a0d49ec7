// Versions: the line of versions; promote, roll back, pin, compare and export.
import { at, call, part, post } from "../api.js";
import { button, confirmed, count, field, h, percent, say, text, when } from "../dom.js";

const pause = (seconds) => new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });

export async function versions(place, { may, signal }) {
  const result = h("div", { "aria-live": "polite" }), list = h("div", {});
  const show = async () => {
    const page = await call(at("/versions", { limit: 100 }));
    const live = page.items.find((version) => version.status === "live");
    const room = live?.checks?.room;
    list.replaceChildren(h("p", { id: "room" }, `Room left in the store before the checks refuse: ${percent(room)}`, typeof room === "number" && h("meter", { min: 0, max: 1, value: room, "aria-label": "room left in the store" })),
      compare(page.items, result), ...page.items.map((version) => item(version, { may, result, show, live, signal })));
  };
  place.append(result, list);
  await show();
}

function item(version, { may, result, show, live, signal }) {
  const promote = version.status === "candidate" ? "Promote" : "Roll back to";
  const canMove = may("admin") && !version.removed && !["live", "discarded"].includes(version.status);
  const changed = h("div", {});
  return h("article", { class: "panel" }, h("strong", {}, version.id), " ", h("span", { class: "badge" }, version.status), version.pinned && " pinned", version.removed && " files removed",
    h("p", { class: "hint" }, count(version.edits, "live edit"), " · ", version.parent ? [when(version.created), ` · from ${version.parent}`] : "the original model"),
    h("div", { class: "row" },
      version.parent && !version.removed && button("What changed", result, async () => changed.replaceChildren(...difference(await call(`/versions/${part(version.parent)}/diff/${part(version.id)}`))), { "aria-label": `What changed in ${version.id}` }),
      canMove && button(`${promote} ${version.id}`, result, async () => {
        if (!await confirmed(`Make ${version.id} live for everyone, in place of ${live?.id}?`, `Make ${version.id} live`)) return;
        const moved = await post(`/versions/${part(version.id)}/promote`);
        await show();
        result.replaceChildren(h("p", {}, `${version.id} is live. ${count(moved.rolled_back.length, "edit")} no longer in force, ${count(moved.restored.length, "edit")} in force again.`));
      }, { class: "main" }),
      may("admin") && version.status === "candidate" && button(`Discard ${version.id}`, result, async () => { if (await confirmed(`Discard the candidate ${version.id}?`, "Discard")) { await call(`/versions/${part(version.id)}`, { method: "DELETE" }); await show(); } }),
      may("admin") && !version.removed && button(`${version.pinned ? "Unpin" : "Pin"} ${version.id}`, result, async () => { await call(`/versions/${part(version.id)}/pin`, { method: version.pinned ? "DELETE" : "PUT" }); say(`${version.id} is ${version.pinned ? "no longer pinned" : "pinned"}.`); await show(); }),
      may("admin") && !version.removed && button(`Export ${version.id}`, result, () => exported(version.id, result, signal))), changed);
}

function compare(items, result) {
  const kept = items.filter((version) => !version.removed);
  const select = (chosen) => h("select", {}, kept.map((version, i) => h("option", { value: version.id, selected: i === chosen }, version.id)));
  const a = select(Math.min(1, kept.length - 1)), b = select(0);
  return h("div", { class: "row" }, field("From", a), field("To", b), button("Compare", result, async () => result.replaceChildren(...difference(await call(`/versions/${part(a.value)}/diff/${part(b.value)}`)))));
}

function difference(found) {
  const line = (edit) => [text(edit.subject), " — ", text(edit.prompt), " → ", text(edit.target_new)];
  return [h("h2", {}, `From ${found.a} to ${found.b}`), found.same_weights && h("p", {}, "Both have the same weights."),
    h("ul", {}, found.added.map((edit) => h("li", {}, "Added: ", line(edit))), found.superseded.map(({ old, new: fresh }) => h("li", {}, "Replaced: ", line(old), ", now ", text(fresh.target_new))), found.reverted.map((edit) => h("li", {}, "Taken out: ", line(edit))))].filter(Boolean);
}

async function exported(version, result, signal) {
  let record = await post(`/versions/${part(version)}/export`, { format: "hf" });
  while (!["done", "failed"].includes(record.status) && !signal.aborted) {
    const step = record.progress;
    result.replaceChildren(h("p", {}, `Export ${record.id}: ${record.status}`, step && `, ${step.phase}, ${step.done} of ${step.total}`), step ? h("progress", { max: step.total || 1, value: step.done, "aria-label": "export" }) : "");
    await pause(1);
    record = await call(`/exports/${part(record.id)}`);
  }
  result.replaceChildren(h("p", {}, `Export ${record.id}: ${record.status}. `, record.error ? text(record.error) : text(`Folder in the data folder: ${record.path}`)));
}
