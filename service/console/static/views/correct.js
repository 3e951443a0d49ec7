// Correct: one fact as a form, or a file of edits.
import { submit } from "../api.js";
import { button, confirmed, count, field, h, problem, say, text } from "../dom.js";

const lines = (control) => control.value.split("\n").map((line) => line.trim()).filter(Boolean);

export async function correct(place, { query }) {
  const control = (tag, value = "", extra = {}) => h(tag, { dir: "auto", value, ...extra });
  const sentence = control("textarea", query.get("sentence") ?? "");
  const subject = control("input"), target = control("input"), old = control("input");
  const paraphrases = control("textarea"), neighbors = control("textarea"), source = control("input"), note = control("textarea");
  const template = h("p", { class: "panel text", "aria-live": "polite" });
  const result = h("div", { "aria-live": "polite" });
  const prompt = () => { const i = subject.value ? sentence.value.indexOf(subject.value) : -1; return i < 0 ? null : sentence.value.slice(0, i) + "{}" + sentence.value.slice(i + subject.value.length); };
  const preview = () => {
    const i = subject.value ? sentence.value.indexOf(subject.value) : -1;
    template.replaceChildren(...(i < 0 ? ["Select the subject in the sentence, or type it above."] : [sentence.value.slice(0, i), h("mark", {}, text(subject.value)), sentence.value.slice(i + subject.value.length), " ", h("strong", {}, text(target.value))]));
  };
  const take = () => {
    const chosen = sentence.value.slice(sentence.selectionStart, sentence.selectionEnd).trim();
    if (chosen) { subject.value = chosen; preview(); say(`The subject is ${chosen.slice(0, 100)}.`); }
  };
  for (const event of ["select", "mouseup", "keyup"]) sentence.addEventListener(event, take);
  for (const item of [sentence, subject, target]) item.addEventListener("input", preview);
  preview();
  const edit = () => {
    const made = prompt();
    if (made === null) throw new Error("The subject does not appear in the sentence: select it there.");
    const optional = { target_true: old.value, source: source.value, note: note.value };
    return { subject: subject.value, prompt: made, target_new: target.value, paraphrases: lines(paraphrases),
      neighborhood: lines(neighbors).map((line) => { const [text, answer] = line.split("=>").map((part) => part.trim()); return answer ? { prompt: text, target: answer } : { prompt: text }; }),
      ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value.trim())) };
  };
  place.append(field("Sentence up to the answer", sentence, "For example: The mother tongue of Danielle Darrieux is. Select the subject with the mouse or with Shift and the arrow keys."),
    field("Subject", subject), template, field("New object", target, query.get("answer") ? `The model answers: ${query.get("answer")}` : "What the sentence should continue with."),
    h("details", {}, h("summary", {}, "Old object, other wordings, neighbours, source and note"),
      field("Old object", old), field("Other wordings", paraphrases, "One per line, with {} where the subject goes."),
      field("Neighbours", neighbors, "Prompts about other subjects whose answers must not change: one per line, as PROMPT => ANSWER."), field("Source", source), field("Note", note)),
    submitting(result, () => [edit()]), result, h("h2", {}, "A file of edits"), fromFile());
}

function submitting(result, edits) {
  const go = async (options, said) => {
    const accepted = await submit({ edits: edits(), ...options });
    result.replaceChildren(...accepted.warnings.map((warning) => h("p", {}, text(warning.msg))));
    say(said);
    location.hash = `#/watch/${accepted.id}`;
  };
  return h("div", { class: "row" },
    button("Preview", result, () => go({ dry_run: true }, "The preview is queued; nothing changes.")),
    button("Keep as candidate", result, () => go({ promote: "manual" }, "The candidate is queued; it is not live until it is promoted.")),
    button("Correct it live", result, async () => { const made = edits(); if (await confirmed(`Make ${count(made.length, "correction")} live for everyone, once the checks pass?`, "Make it live")) await go({ promote: "auto" }, "The correction is queued."); }, { class: "main" }));
}

function fromFile() {
  const file = h("input", { type: "file", accept: ".jsonl,.json" });
  const result = h("div", { "aria-live": "polite" });
  file.addEventListener("change", async () => {
    if (!file.files.length) return;
    const { edits, wrong, at } = readEdits(await file.files[0].text());
    if (wrong.length) { result.replaceChildren(h("div", { class: "panel problem", role: "alert" }, h("strong", {}, `${count(wrong.length, "line")} cannot be read; nothing was sent`), h("ul", {}, wrong.slice(0, 100).map((item) => h("li", {}, text(item)))))); return; }
    const told = h("div", {});
    const named = () => edits;
    result.replaceChildren(h("p", {}, `${count(edits.length, "edit")} read.`), submitting(placeByLine(told, at), named), told);
  });
  const drop = h("div", { class: "panel", ondragover: (event) => event.preventDefault(), ondrop: (event) => { event.preventDefault(); file.files = event.dataTransfer.files; file.dispatchEvent(new Event("change")); } },
    field("Choose a file or drop it here", file, "JSON lines: one edit per line, with the fields of POST /edits."), result);
  return drop;
}

// Shows the API's errors with the line of the file instead of the index of the edit.
function placeByLine(place, at) {
  return { replaceChildren: (...children) => place.replaceChildren(...children.map((child) => { for (const item of child.querySelectorAll?.("li bdi") ?? []) item.textContent = item.textContent.replace(/^body › edits › (\d+)/, (_, index) => `line ${at[index]}`); return child; })) };
}

export function readEdits(content) {
  const edits = [], wrong = [], at = [];
  content.split(/\r?\n/).forEach((line, i) => {
    if (!line.trim()) return;
    try {
      const read = JSON.parse(line);
      if (read === null || typeof read !== "object" || Array.isArray(read)) throw new Error("is not an object");
      edits.push(read); at.push(i + 1);
    } catch (error) { wrong.push(`line ${i + 1}: ${error.message}`); }
  });
  if (!edits.length && !wrong.length) wrong.push("line 1: the file is empty");
  return { edits, wrong, at };
}
