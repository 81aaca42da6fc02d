// Numbers as people read them, every one with its unit.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const NONE = "–";

export function count(value) {
  return value === null || value === undefined ? NONE : number.format(value);
}

export function short(value) {
  return value === null || value === undefined ? NONE : value < 10_000 ? number.format(value) : compact.format(value);
}

export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function percent(share, digits = 1) {
  if (share === null || share === undefined || Number.isNaN(share)) return NONE;
  return `${(share * 100).toFixed(share === 1 || share === 0 ? 0 : digits)} %`;
}

/** Milliseconds, or seconds from one second on. */
export function ms(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`;
}

/** A span of time in its two largest units. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const s = Math.max(0, seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return two(s, 3600, "h", 60, "min");
  return s < 30 * 86_400 ? two(s, 86_400, "d", 3600, "h") : `${Math.floor(s / 86_400)} d`;
}

function two(seconds, large, largeName, small, smallName) {
  const first = Math.floor(seconds / large);
  const second = Math.floor((seconds % large) / small);
  return second && first < 10 ? `${first} ${largeName} ${second} ${smallName}` : `${first} ${largeName}`;
}

export function ago(unixSeconds, nowMs = Date.now()) {
  const seconds = nowMs / 1000 - unixSeconds;
  return seconds < 5 ? "just now" : `${span(Math.round(seconds))} ago`;
}

export function clock(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleTimeString("en-GB");
}

export function moment(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < names.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at && value < 100 ? value.toFixed(1) : Math.round(value)} ${names[at]}`;
}

export function money(value, currency = "USD") {
  if (value === null || value === undefined) return NONE;
  const digits = Math.abs(value) > 0 && Math.abs(value) < 0.01 ? 6 : 2;
  return new Intl.NumberFormat("en", { style: "currency", currency, maximumFractionDigits: digits }).format(value);
}

/** A tenant: one that nobody named is a long digest, of which the beginning says enough. */
export function tenantName(tenant) {
  return /^[0-9a-f]{32}$/.test(tenant) ? `${tenant.slice(0, 8)}…` : tenant;
}

/** A similarity or a probability. */
export function score(value) {
  return value === null || value === undefined ? NONE : Number(value).toFixed(3);
}
