// A figure that moves: read now, and again and again while somebody looks at it.

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
