// What the console knows, and how it stays true: a stream of events, and the lists asked for anew when an event may
// have changed them. Pages read `store` and are drawn anew when it changes; they never ask the service by themselves
// for what is here.

import { api, Refused } from './api.js';

export const MOST_EVENTS = 10_000; // in memory: some megabytes; older ones are asked for by number
const FIRST_EVENTS = 500;
const FIRST_ENDS = 1_000; // as many closed cases as the service remembers (journal.state.OUTCOMES_KEPT)
const SETTLE_MS = 300; // events come in bunches: one question for all of them
const REST_MS = 2_000; // and no list is asked for more often than this: eight pages of one token stay below its rate
const HALTED_POLL_MS = 2_000; // a host that stands is reset in seconds, and no event tells how many are left
const FRESH_MS = 1_500; // so long a new row is marked
const POLL_MS = 10_000; // what no event tells: the disk, readers, sources; and whether anybody is there at all
const BACKOFF_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

export const store = {
  session: null,
  signedOut: false,
  loaded: false,
  link: { state: 'joining', since: Date.now(), because: '', retry: null },
  status: null,
  statusAt: 0,
  host: null,
  parts: [],
  partsBeyond: 0,
  cases: [],
  domains: [],
  approvals: [],
  policy: null,
  words: null,
  rows: new Map(),
  events: [],
  last: null,
  ends: new Map(),
  titles: new Map(), // of cases: when they ended, and what they began with
  refused: '',
};

const readers = new Set();
let drawing = false;

/** Have `reader` called after every change, at most once a frame. */
export const subscribe = (reader) => readers.add(reader);

export function changed() {
  if (drawing) return;
  drawing = true;
  const draw = () => {
    drawing = false;
    for (const reader of readers) reader();
  };
  // A page in the background gets no frames, and still has to keep its title true.
  if (document.hidden) setTimeout(draw, SETTLE_MS);
  else requestAnimationFrame(draw);
}

// --- lists ------------------------------------------------------------------------------------------------------------

const ASK = {
  status: async () => {
    store.status = await api.status();
    store.statusAt = performance.now();
  },
  cases: async () => {
    store.cases = (await api.cases()).cases;
  },
  domains: async () => {
    store.domains = (await api.domains()).domains;
  },
  host: async () => {
    const [host, parts] = await Promise.all([api.host(), api.parts()]);
    Object.assign(store, { host, parts: parts.parts, partsBeyond: parts.left_off });
  },
  approvals: async () => {
    const at = performance.now();
    store.approvals = (await api.approvals()).approvals.map((each) => ({ ...each, until: at + each.left_ms }));
  },
};

/** What an event may change, by its kind; every kind changes the status. */
const CHANGES = {
  Received: ['host'],
  Repeated: ['host'],
  ModulesSeen: ['host'],
  Impacted: ['cases', 'domains'],
  Progressed: ['cases', 'domains', 'host', 'approvals'],
  Closed: ['cases', 'domains', 'host', 'approvals'],
  Superseded: ['cases', 'domains', 'approvals'],
  TrendSeen: ['host', 'cases'],
  Cleared: ['host'],
  KnownBad: ['host', 'cases'],
  ApprovalAsked: ['approvals', 'cases'],
  ApprovalGiven: ['approvals', 'cases'],
  DeadlinePassed: ['approvals', 'cases'],
  Instructed: ['cases', 'domains'],
  DomainChanged: ['domains', 'cases'],
  Dom0Changed: ['domains'],
  Decided: ['cases'],
  Intended: ['cases'],
  Carried: ['cases', 'host', 'domains'],
  Started: ['host', 'cases', 'domains', 'approvals'],
  PolicyLoaded: ['policy'],
};

const due = new Set();
let asking = false;

function want(...names) {
  for (const name of names) due.add(name);
  if (!asking) {
    asking = true;
    setTimeout(ask, SETTLE_MS);
  }
}

async function ask() {
  const names = [...due];
  due.clear();
  if (names.includes('policy')) {
    store.policy = null;
    names.splice(names.indexOf('policy'), 1);
  }
  const results = await Promise.allSettled(names.filter((name) => ASK[name]).map((name) => ASK[name]()));
  store.refused = '';
  for (const result of results) if (result.status === 'rejected') failed(result.reason);
  changed();
  setTimeout(() => {
    asking = false;
    if (due.size) want();
  }, REST_MS);
}

function failed(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401 || error.status === 403) signedOut();
  else if (error.status === 0) lost(error.detail);
  else {
    store.refused = `${error.detail} ${error.advice}`.trim();
    changed();
  }
}

/** Ask for these lists soon. */
export const refresh = (...names) => want(...names);

// --- the stream -------------------------------------------------------------------------------------------------------

let source = null;
let tries = 0;
let timer = null;
let poll = null;
let bunch = [];

function arrived(event) {
  bunch.push(event);
  if (bunch.length === 1) setTimeout(take, 100);
}

function take() {
  const fresh = bunch.filter((event) => store.last === null || event.number > store.last);
  bunch = [];
  if (!fresh.length) return;
  for (const event of fresh) event.fresh = true;
  const shown = [...fresh];
  setTimeout(() => {
    for (const event of shown) event.fresh = false;
  }, FRESH_MS);
  store.last = fresh[fresh.length - 1].number;
  fresh.forEach(remember);
  store.events = [...fresh.reverse(), ...store.events].slice(0, MOST_EVENTS);
  want('status', ...new Set(fresh.flatMap((event) => CHANGES[event.kind] ?? [])));
  changed();
}

const TITLES = new Set(['finding', 'trend', 'known bad', 'instruction']);
const MOST_REMEMBERED = 4_096; // cases; four times those that a list of closed ones has

/** What an event says of its case that no list has. */
function remember(event) {
  if (event.case === null || event.case === undefined) return;
  if (event.kind === 'Closed') store.ends.set(event.case, event.wall_ms);
  if (TITLES.has(event.what) && !store.titles.has(event.case)) store.titles.set(event.case, event.text);
  for (const map of [store.ends, store.titles]) if (map.size > MOST_REMEMBERED) map.delete(map.keys().next().value);
}

function lost(because) {
  source?.close();
  source = null;
  if (store.link.state !== 'lost') store.link = { state: 'lost', since: Date.now(), because, retry: null };
  clearTimeout(timer);
  const wait = BACKOFF_MS[Math.min(tries, BACKOFF_MS.length - 1)];
  tries += 1;
  store.link.retry = performance.now() + wait;
  if (!store.signedOut) timer = setTimeout(join, wait);
  changed();
}

/** Try now, instead of when the time comes. */
export function join() {
  clearTimeout(timer);
  source?.close();
  source = api.stream(store.last);
  const mine = source;
  source.addEventListener('open', () => {
    if (mine !== source) return;
    const was = store.link.state;
    tries = 0;
    store.link = { state: 'live', since: Date.now(), because: '', retry: null };
    store.refused = '';
    if (was === 'lost') want('status', 'host', 'cases', 'domains', 'approvals');
    changed();
  });
  source.addEventListener('event', ({ data }) => arrived(JSON.parse(data)));
  source.addEventListener('error', async () => {
    if (mine !== source) return;
    lost('The stream of events broke off.');
    try {
      await api.status();
      if (tries > 1) await start(); // it is there, and does not take the number where we stood: begin anew
    } catch (error) {
      if (error.status === 401) signedOut();
    }
  });
}

function signedOut() {
  store.signedOut = true;
  clearTimeout(timer);
  clearInterval(poll);
  source?.close();
  source = null;
  changed();
}

// --- beginning --------------------------------------------------------------------------------------------------------

/** Everything once, then the stream. Raises Refused: 401 if nobody is signed in. */
export async function begin() {
  store.session = await api.session();
  await start();
}

export async function signIn(token) {
  store.session = await api.login(token);
  await start();
}

async function start() {
  const [words, events] = await Promise.all([
    api.words(),
    api.events({ limit: FIRST_EVENTS }),
    ...Object.values(ASK).map((one) => one()),
  ]);
  store.words = words;
  store.rows = new Map(words.rows.map((row) => [row.row, row]));
  // Another journal's numbers mean nothing here.
  const known = store.last !== null && store.last <= events.after ? store.events : [];
  const newest = known[0]?.number ?? 0;
  store.events = [...events.events.filter((event) => event.number > newest).reverse(), ...known].slice(0, MOST_EVENTS);
  store.last = events.after;
  store.signedOut = false;
  store.loaded = true;
  clearInterval(poll);
  poll = setInterval(() => {
    const every = store.status.halted ? HALTED_POLL_MS : POLL_MS;
    if (performance.now() - store.statusAt >= every - SETTLE_MS)
      want('status', ...(store.approvals.length ? ['approvals'] : []));
  }, HALTED_POLL_MS);
  join();
  changed();
  await history();
}

/** How closed cases began and ended: told after everything else, for it is not what is looked at first. */
async function history() {
  const pages = await Promise.allSettled(
    ['finding', 'trend', 'known bad', 'instruction', 'outcome'].map((what) => api.events({ what, limit: FIRST_ENDS })),
  );
  for (const page of pages) if (page.status === 'fulfilled') page.value.events.forEach(remember);
  changed();
}

/** The API's answer for signing out; what is shown is forgotten. */
export async function signOut() {
  await api.logout();
  location.reload();
}

export const may = (scope) => store.session?.scopes?.includes(scope) ?? false;
