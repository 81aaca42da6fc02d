// A figure that moves: read now, and again and again while somebody looks at it.

import { debounced } from "./dom.js";

/** Calls `read(isGone)` by `poll.now()`, then `everyMs` after its end while the page is seen, until `poll.stop()`. What
 * `read` waited for is of no use any more when `isGone()`. */
export function polled(read, everyMs) {
  let timer = 0;
  let gone = false;

  async function now() {
    clearTimeout(timer);
    await read(() => gone);
    clearTimeout(timer); // of another call meanwhile
    if (!gone && !document.hidden) timer = setTimeout(now, everyMs);
  }

  const seen = () => document.hidden || now();
  document.addEventListener("visibilitychange", seen);
  return {
    now,
    stop() {
      gone = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}

/** The same, and `soonMs` after a request has ended, too. */
export function polledWithRequests(read, everyMs, live, soonMs) {
  const poll = polled(read, everyMs);
  const soon = debounced(poll.now, soonMs);
  const unheard = live.on("request", soon);
  return {
    now: poll.now,
    stop() {
      poll.stop();
      unheard();
      soon.cancel();
    },
  };
}
