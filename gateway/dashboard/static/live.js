// What the server tells by itself: one event stream for the whole page, and whether the server is there at all.
//
//   live.on("request", (line) => ...)   a finished request (gateway/live)
//   live.on("missed", ({missed}) => ...) that many were not told: read /requests again
//   live.on("state", (state) => ...)    "connecting", "live" or "offline"

const EVERY_MS = 3000; // between two looks at a server that is away
const PATIENCE_MS = 40_000; // the stream says something every 15 s

/** `onEnded` hears that whoever is here has to log in. */
export function createLive(api, { onEnded }) {
  const listeners = { request: new Set(), missed: new Set(), state: new Set() };
  let source = null;
  let state = "connecting";
  let timer = 0;
  let silence = 0;
  let running = false;

  const tell = (kind, value) => listeners[kind].forEach((listener) => listener(value));

  function become(next) {
    if (next === state) return;
    state = next;
    tell("state", state);
  }

  function heard() {
    clearTimeout(silence);
    silence = setTimeout(lost, PATIENCE_MS);
    become("live");
  }

  function open() {
    close();
    source = new EventSource(api.address("live"));
    source.onopen = heard;
    source.addEventListener("beat", heard);
    source.addEventListener("request", (event) => {
      heard();
      tell("request", JSON.parse(event.data));
    });
    source.addEventListener("missed", (event) => tell("missed", JSON.parse(event.data)));
    source.onerror = lost;
  }

  function close() {
    clearTimeout(silence);
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  async function lost() {
    close();
    if (!running) return;
    timer = setTimeout(open, EVERY_MS);
    await api.get("session").then(
      ({ state: who, csrf }) => {
        api.setCsrf(csrf);
        if (who === "login") onEnded();
        else become("live"); // the server is there; its stream will be again
      },
      (error) => become(error.status ? "live" : "offline"),
    );
  }

  return {
    get state() {
      return state;
    },
    start() {
      running = true;
      open();
    },
    stop() {
      running = false;
      close();
    },
    /** Listen; the function returned ends that. */
    on(kind, listener) {
      listeners[kind].add(listener);
      return () => listeners[kind].delete(listener);
    },
    /** A request found the server there, or not. */
    reached(isThere) {
      if (!isThere) {
        become("offline");
        clearTimeout(timer);
        if (running) timer = setTimeout(open, EVERY_MS);
      } else if (state === "offline") {
        become("live");
      }
    },
  };
}
