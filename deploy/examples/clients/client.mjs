// A client of the gateway in JavaScript: for Node 18 and newer, and for browsers as it is.
//
//   GATEWAY_KEY=gwk_… node client.mjs http://127.0.0.1:8000 AAPL MSFT
//
// What may be asked again is asked again: a GET whose connection was lost, and anything that was
// refused for now (429, 503), after as long as the gateway says. All else is for the caller, with
// the id by which the gateway's log has it.

const TIMEOUT = 10_000; // ms, for each attempt
const ATTEMPTS = 4;
const LONGEST = 30_000; // ms between two attempts; who is told to wait longer is told so
const AGAIN = [429, 503];

/** An answer that is an error. `status` is 0 where there was no answer at all. */
export class GatewayError extends Error {
  constructor(status, body, retryAfter) {
    super(`${status} ${body.error ?? ""}: ${body.message ?? ""} (request ${body.request_id ?? ""})`);
    this.name = "GatewayError";
    this.status = status;
    this.code = body.error; // for programs: rate_limited, not_found, …
    this.requestId = body.request_id;
    this.details = body.details ?? []; // with 422: in, name, path and message of each flaw
    this.retryAfter = retryAfter; // ms, if the gateway says
  }
}

/** A gateway, and who asks it: by `key`, by `token`, or by neither. */
export class Gateway {
  #url;
  #headers;

  constructor(url, { key, token } = {}) {
    this.#url = url.replace(/\/$/, "");
    this.#headers = { Accept: "application/json" };
    if (key) this.#headers["X-API-Key"] = key;
    if (token) this.#headers.Authorization = `Bearer ${token}`;
  }

  /** What a GET gives; it rejects with a GatewayError. */
  get(path, query = {}) {
    const text = new URLSearchParams(query).toString();
    return this.ask("GET", text ? `${path}?${text}` : path);
  }

  /** What a request gives; its body is sent as JSON. It rejects with a GatewayError. */
  async ask(method, path, body) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#ask(method, path, body);
      } catch (error) {
        const lost = error.status === 0;
        const safe = AGAIN.includes(error.status) || (lost && ["GET", "HEAD"].includes(method));
        // Not all clients at once: each waits for a random time, longer with each attempt.
        const pause = Math.random() * 250 * 2 ** attempt + (error.retryAfter ?? 0);
        if (!safe || attempt === ATTEMPTS || pause > LONGEST) throw error;
        await new Promise((resume) => setTimeout(resume, pause));
      }
    }
  }

  async #ask(method, path, body) {
    const headers = { ...this.#headers };
    const options = { method, headers, signal: AbortSignal.timeout(TIMEOUT) };
    if (body !== undefined) {
      headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    let answer, text;
    try {
      answer = await fetch(this.#url + path, options);
      text = await answer.text();
    } catch (error) {
      const message = error.cause?.message ?? error.message;
      throw new GatewayError(0, { error: "no_answer", message });
    }
    if (answer.ok) return text ? JSON.parse(text) : null;
    throw refused(answer, text);
  }
}

/** An answer that is an error: the gateway's own, or a service's, which may be no JSON. */
function refused(answer, text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = null;
  }
  if (body === null || typeof body !== "object") body = { message: answer.statusText };
  const seconds = answer.headers.get("Retry-After");
  const retryAfter = /^\d+$/.test(seconds ?? "") ? Number(seconds) * 1000 : undefined;
  return new GatewayError(
    answer.status, { request_id: answer.headers.get("X-Request-ID"), ...body }, retryAfter,
  );
}

async function main([url, ...symbols]) {
  const { GATEWAY_KEY: key, GATEWAY_TOKEN: token } = process.env;
  const gateway = new Gateway(url, { key, token });
  try {
    const found = await gateway.get("/api/predictions", { symbols: symbols.join(",") });
    for (const [symbol, prediction] of Object.entries(found.predictions)) {
      console.log(symbol, prediction.predicted_price);
    }
    for (const symbol of found.missing) console.log(symbol, "is not known");
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    console.error(error.message);
    for (const flaw of error.details) console.error(`  ${flaw.in} ${flaw.path}: ${flaw.message}`);
    process.exitCode = 1;
  }
}

if (globalThis.process?.argv[1] && import.meta.url.endsWith(process.argv[1].split("/").pop())) {
  await main(process.argv.slice(2));
}
