// The server, as the views speak to it. Addresses go by where this file came from, so a proxy may put a prefix in front.

const ADMIN = import.meta.url.slice(0, import.meta.url.indexOf("/static/") + 1);
const API = new URL("api/", ADMIN);
const V1 = new URL("../v1/", ADMIN);

/** What the server said, or that it said nothing (`status` 0). */
export class ApiError extends Error {
  constructor(status, message, param = null, code = null) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.param = param;
    this.code = code;
  }
}

/** `onRefused` hears of a 401, `onReach` after every try whether there was a server. */
export function createApi({ onRefused, onReach }) {
  let csrf = "";

  /** What the server says. Another tab may have logged in since this page did: then its word is this page's, too. */
  async function ask(method, path, body, options) {
    const mine = csrf;
    try {
      return await askOnce(method, path, body, options);
    } catch (error) {
      if (error.status !== 403 || method === "GET") throw error;
      csrf = (await askOnce("GET", "session")).csrf ?? "";
      if (!csrf || csrf === mine) throw error; // it was refused for something else
      return askOnce(method, path, body, options);
    }
  }

  async function askOnce(method, path, body, { signal } = {}) {
    const headers = { accept: "application/json" };
    if (csrf) headers["x-twicetold-csrf"] = csrf;
    if (method !== "GET") headers["content-type"] = "application/json";
    const options = { method, headers, signal, credentials: "same-origin", cache: "no-store" };
    if (body !== undefined) options.body = JSON.stringify(body);
    const response = await reach(new URL(path.replace(/^\//, ""), API), options);
    const text = await response.text();
    if (!response.ok) {
      const error = complaint(response.status, text);
      if (response.status === 401 && path !== "session") onRefused(error);
      throw error;
    }
    return text ? JSON.parse(text) : null;
  }

  async function reach(address, options) {
    try {
      const response = await fetch(address, options);
      onReach(true);
      return response;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      onReach(false);
      throw new ApiError(0, "The server does not answer.");
    }
  }

  return {
    get: (path, options) => ask("GET", path, undefined, options),
    send: (method, path, body = {}, options) => ask(method, path, body, options),
    /** A Response of /v1, which knows keys of its own and no cookie. Never with `cache: "no-store"`: a browser then says
     * Cache-Control: no-cache to the server, too. */
    v1: (path, options = {}) => reach(new URL(path, V1), { ...options, credentials: "omit" }),
    address: (path) => new URL(path.replace(/^\//, ""), API).href,
    setCsrf: (token) => {
      csrf = token ?? "";
    },
  };
}

/** The error of a response, in the server's words. */
export function complaint(status, text) {
  try {
    const { error } = JSON.parse(text);
    return new ApiError(status, error.message, error.param, error.code);
  } catch {
    return new ApiError(status, `The server answered ${status}.`);
  }
}

/** `?a=1&b=2` of what is not empty. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
