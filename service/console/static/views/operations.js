// Operations at a glance: readiness, and the metrics that the alerts look at, in words.
import { call, plain } from "../api.js";
import { count, h, text } from "../dom.js";

function values(metrics) {
  const found = new Map();
  for (const line of metrics.split("\n")) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match) found.set(match[1], [...(found.get(match[1]) ?? []), { labels: match[2] ?? "", value: Number(match[3]) }]);
  }
  return found;
}

export async function operations(place, { signal }) {
  const shown = h("div", {});
  place.append(shown);
  while (!signal.aborted) {
    const ready = await fetch("/readyz", { signal, cache: "no-store" }).then((answer) => answer.json());
    const [metrics, links] = [values(await plain("/metrics")), (await call("/")).links];
    shown.replaceChildren(...glance(ready, metrics, links));
    await new Promise((resolve) => { setTimeout(resolve, 5000); signal.addEventListener("abort", resolve, { once: true }); });
  }
}

function glance(ready, metrics, links) {
  const one = (name) => metrics.get(name)?.reduce((sum, item) => sum + item.value, 0);
  const row = (label, value) => value !== undefined && value !== null && h("tr", {}, h("th", { scope: "row" }, label), h("td", {}, value));
  const number = (name, noun) => (one(name) === undefined ? undefined : count(one(name), noun));
  const megabytes = (name) => (one(name) === undefined ? undefined : `${(one(name) / 1e6).toFixed(1)} MB`);
  const model = ready.parts.generation;
  const conditions = [
    !ready.ready && "This process cannot answer every request.", ready.degraded && "A part does not work fully.",
    ...Object.entries(ready.parts).map(([name, part]) => part.reason && `${name}: ${part.reason}`),
    one("errata_redis_last_write_ok") === 0 && "Redis could not write to its disk.", one("errata_redis_durable") === 0 && "Redis does not keep accepted batches on its disk.",
    one("errata_generation_digest_matches") === 0 && "The weights in memory differ from the published version.", one("errata_store_room") < 0.1 && "Less than 10 % of the checks' limits is left.",
    one("errata_oldest_batch_age_seconds") > 3600 && "A batch has been open for more than an hour."].filter(Boolean);
  return [h("h2", {}, "Conditions"), conditions.length ? h("ul", { class: "bad" }, conditions.map((line) => h("li", {}, text(line)))) : h("p", { class: "good" }, "Nothing needs attention."),
    h("h2", {}, "Now"), h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, [
      row("Live version of this replica", model?.version), row("Lag of this replica", model && `${count(model.behind_revisions, "promotion")}, ${model.behind_seconds} s`),
      row("Answers being written", model && count(model.running, "answer")), row("Prompts waiting", model && count(model.waiting, "prompt")),
      row("Queue", number("errata_queue_depth", "job")), row("Open batches", one("errata_open_batches")?.toLocaleString("en")), row("Oldest open batch", one("errata_oldest_batch_age_seconds") === undefined ? undefined : `${Math.round(one("errata_oldest_batch_age_seconds"))} s`),
      row("Live edits", number("errata_live_edits", "edit")), row("Redis memory", megabytes("errata_redis_memory_bytes")), row("Redis file", megabytes("errata_redis_append_only_bytes"))].filter(Boolean)))),
    links.grafana && h("p", {}, h("a", { href: links.grafana, rel: "noreferrer" }, "Dashboards in Grafana")),
    h("p", {}, h("a", { href: "/docs" }, "API documentation"))].filter(Boolean);
}
