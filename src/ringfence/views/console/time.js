// Times: absolute in UTC, relative beside it; one ticker keeps every relative one true.

import { h } from './dom.js';

let ahead = 0;

/** What this browser's clock is ahead of the service's, milliseconds (from the Date of an answer, RFC 9110 6.6.1). */
export const clockAhead = () => ahead;

/** Learn the service's time. A second of difference is the header's own resolution. */
export function learn(date) {
  const theirs = Date.parse(date ?? '');
  if (Number.isNaN(theirs)) return;
  const difference = Date.now() - (theirs + 500);
  ahead = Math.abs(difference) > 2000 ? difference : 0;
}

export const now = () => Date.now() - ahead;

const pad = (value, places = 2) => String(value).padStart(places, '0');

/** "20:37:19", with milliseconds if wanted. */
export function clock(ms, { milli = false } = {}) {
  const date = new Date(ms);
  const base = `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}:${pad(date.getUTCSeconds())}`;
  return milli ? `${base}.${pad(date.getUTCMilliseconds(), 3)}` : base;
}

export const day = (ms) => new Date(ms).toISOString().slice(0, 10);

/** "20:37:19 UTC" today, with the date on any other day. */
export const absolute = (ms, options) => `${day(ms) === day(now()) ? '' : `${day(ms)} `}${clock(ms, options)}`;

/** A length of time, short: "850 ms", "12 s", "3 min", "2 h 5 min", "4 d". */
export function length(ms) {
  const s = Math.floor(ms / 1000);
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400)
    return s % 3600 < 60 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d`;
}

/** "3 min ago"; "now" within a second either way. */
export function relative(ms) {
  const past = now() - ms;
  if (Math.abs(past) < 1000) return 'now';
  return past > 0 ? `${length(past)} ago` : `in ${length(-past)}`;
}

/** A moment as an element: absolute and relative; `ms` is null where the clock was not known. */
export function moment(ms, { milli = false } = {}) {
  if (ms === null || ms === undefined)
    return h('span.muted', { title: 'The wall clock was not known then.' }, 'time not known');
  return h(
    'time.when',
    { datetime: new Date(ms).toISOString(), title: `${new Date(ms).toISOString()} (UTC)` },
    h('span.abs', absolute(ms, { milli })),
    ' ',
    h('span.rel', { 'data-since': ms }, relative(ms)),
  );
}

/** A relative time alone; the absolute one is in its title. */
export const ago = (ms) =>
  ms === null || ms === undefined
    ? h('span.muted', 'time not known')
    : h(
        'time.rel',
        { datetime: new Date(ms).toISOString(), title: `${absolute(ms)} UTC`, 'data-since': ms },
        relative(ms),
      );

/** "0:42": what is left until `until` on this page's own clock (performance.now), which no time service can turn back. */
export function left(until) {
  const s = Math.max(0, Math.ceil((until - performance.now()) / 1000));
  if (s >= 3600) return `${Math.floor(s / 3600)}:${pad(Math.floor((s % 3600) / 60))}:${pad(s % 60)}`;
  return `${Math.floor(s / 60)}:${pad(s % 60)}`;
}

/** A countdown as an element; it turns urgent in the last fifteen seconds. */
export const countdown = (until) =>
  h('span.countdown', { 'data-until': until, role: 'timer', 'data-late': late(until) }, left(until));

const late = (until) => {
  const rest = until - performance.now();
  return rest <= 0 ? 'over' : rest < 15_000 ? 'soon' : 'no';
};

/** Once a second: every relative time and countdown of the page is made true. */
export function tick(root = document) {
  for (const node of root.querySelectorAll('[data-since]')) set(node, relative(Number(node.dataset.since)));
  for (const node of root.querySelectorAll('[data-until]')) {
    const until = Number(node.dataset.until);
    set(node, left(until));
    const state = late(until);
    if (node.dataset.late !== state) node.dataset.late = state;
  }
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
