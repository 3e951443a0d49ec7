// Calls the public HTTP API. The key stays in this tab's session storage and is sent as a header only.

const KEY = "errata-key";
export const key = { get: () => sessionStorage.getItem(KEY), set: (value) => sessionStorage.setItem(KEY, value), forget: () => sessionStorage.removeItem(KEY) };

export class ApiError extends Error {
  constructor(status, problem) { super(problem.detail ?? `status ${status}`); this.status = status; this.problem = problem; }
}

async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const all = { Accept: "application/json, text/event-stream", ...headers };
  if (key.get()) all.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers: all, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { title: "Errata cannot be reached", detail: "The service does not answer.", next_step: "Check that it runs, then try again." });
  }
  if (answer.ok) return answer;
  const found = await answer.json().catch(() => ({ title: "The request failed", detail: `The service answered with status ${answer.status}.` }));
  if (answer.status === 401) dispatchEvent(new CustomEvent("key-needed", { detail: found }));
  throw new ApiError(answer.status, found);
}

export const call = async (path, options) => (await send(path, options)).json();
export const plain = async (path) => (await send(path)).text();
export const post = (path, body) => call(path, { method: "POST", body });
export const submit = (body) => call("/edits", { method: "POST", body, headers: { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()).slice(2) } });
export const at = (path, parameters) => {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return `${path}?${query}`;
};
export const part = encodeURIComponent;

// Reads server-sent events with fetch, because EventSource cannot send a key.
export async function* events(path, options = {}) {
  const answer = await send(path, options);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n");
        const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
        const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim() ?? "message";
        if (data) yield { name, data: JSON.parse(data) };
      }
    }
  } finally { reader.cancel().catch(() => {}); }
}
