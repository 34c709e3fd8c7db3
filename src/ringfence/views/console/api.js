// The HTTP API as functions: one place that knows paths, the session and its CSRF word, and what a refusal looks like.

import { learn } from './time.js';

const BASE = 'api/v1';
const DRY_RUN_MS = 45_000; // a trial of a policy has half a minute (service.http.dry_run), and may wait for another
const POST_MS = 125_000; // a receiver may be given two minutes (service.configuration.outlets, whole_s)
const TIMEOUT_MS = 15_000; // longer than a full disk or a busy writer lets anybody wait

/** Nothing was done: `status` (0: nobody answered), `detail` and `advice` are sentences. */
export class Refused extends Error {
  constructor(status, detail, advice = '') {
    super(detail);
    Object.assign(this, { status, detail, advice });
  }
}

let csrf = '';

async function call(method, path, body, timeout = TIMEOUT_MS) {
  const headers = { Accept: 'application/json' };
  if (method !== 'GET') headers['X-CSRF-Token'] = csrf;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(`${BASE}/${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      credentials: 'same-origin',
      redirect: 'error',
      signal: AbortSignal.timeout(timeout),
    });
  } catch (error) {
    throw new Refused(
      0,
      error.name === 'TimeoutError' ? 'The service did not answer in time.' : 'The service cannot be reached.',
    );
  }
  learn(answer.headers.get('Date'));
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    /* below: an answer that is not the API's */
  }
  if (!answer.ok) {
    throw new Refused(answer.status, value?.detail ?? `The service answered ${answer.status}.`, value?.advice ?? '');
  }
  return value;
}

const get = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return call('GET', given.length ? `${path}?${new URLSearchParams(given)}` : path);
};

const session = (value) => {
  csrf = value.csrf;
  return value;
};

export const api = {
  session: async () => session(await get('session')),
  login: async (token) => session(await call('POST', 'session', { token })),
  logout: () => call('DELETE', 'session'),
  status: () => get('health'),
  host: () => get('host'),
  parts: () => get('parts'),
  events: (query) => get('events', query),
  cases: () => get('cases', { closed: true }),
  explainCase: (number) => get(`cases/${number}`),
  explainEvent: (number) => get(`events/${number}`),
  domains: () => get('domains'),
  approvals: () => get('approvals'),
  approve: (word) => call('POST', 'approve', word),
  reject: (word) => call('POST', 'reject', word),
  instruct: (instruction) => call('POST', 'do', instruction),
  unpause: (domain) => call('POST', 'unpause', domain),
  onePage: (frame) => get(`pages/${frame}`),
  page: (page) => call('POST', 'page', page),
  cpu: (cpu) => call('POST', 'cpu', cpu),
  clear: (part) => call('POST', 'clear', part),
  reload: () => call('POST', 'reload'),
  testWebhook: (webhook) => call('POST', 'webhooks/test', webhook, POST_MS),
  policy: () => get('policy'),
  dryRun: (text, standIn) => call('POST', 'policy/dry-run', { text, stand_in: standIn }, DRY_RUN_MS),
  words: () => get('words'),
  stream: (after) => new EventSource(`${BASE}/events/stream${after === null ? '' : `?after=${after}`}`),
};
