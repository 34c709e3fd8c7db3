// The first page: is anything wrong, what waits for me, who was hit. Quiet when there is nothing to say.

import { h } from '../dom.js';
import { picture } from '../picture.js';
import { approval, caseLink, eventRow, tag, whenOf } from '../pieces.js';
import { may, store } from '../store.js';
import { ago, length, now } from '../time.js';
import { partStateOf, plural, stateOf } from '../words.js';
import { actions as hostActions } from './host.js';

const RECENT_MS = 24 * 3600 * 1000;
const HIT_SHOWN = 6;
const FAULTS_SHOWN = 5;
const LATEST_SHOWN = 8;

export const title = () => 'Overview';

export function render() {
  const { status } = store;
  const person = forPersons();
  return [
    verdict(status, person),
    h(
      'div.grid.two',
      h(
        'div.stack',
        { 'data-key': 'now' },
        h(
          'section.card',
          { 'aria-labelledby': 'wrong-now' },
          h('h2', { id: 'wrong-now' }, 'Wrong now'),
          problems(status),
        ),
        h('section.card', { 'aria-labelledby': 'waits' }, h('h2', { id: 'waits' }, 'Waits for you'), waiting(person)),
      ),
      h(
        'section.card',
        { 'data-key': 'hit', 'aria-labelledby': 'hit' },
        h('h2', { id: 'hit' }, 'Who was hit, last 24 h', h('a', { href: '#/cases' }, 'all cases')),
        hit(),
      ),
    ),
    h(
      'div.grid.wide.below',
      h(
        'section.card',
        { 'aria-labelledby': 'host-now' },
        h('h2', { id: 'host-now' }, 'The host', h('a', { href: '#/host' }, 'look closer')),
        picture({ small: true }),
      ),
      h(
        'section.card',
        { 'aria-labelledby': 'latest' },
        h('h2', { id: 'latest' }, 'Latest', h('a', { href: '#/events' }, 'all events')),
        store.events.length
          ? h(
              'ol.feed',
              store.events
                .slice(0, LATEST_SHOWN)
                .map((event) =>
                  h(
                    'li',
                    { 'data-key': event.number, 'data-item': true, tabindex: '-1' },
                    eventRow(event, { short: true }),
                  ),
                ),
            )
          : h('p.empty', 'Nothing has happened yet.'),
      ),
    ),
  ];
}

/** What a person has to do beside approvals: parts to be replaced, domains that are stuck, steps nobody can tell of. */
function forPersons() {
  // A page is nothing that a person replaces: it leaves use by itself.
  const faulty = store.parts.filter((each) => each.state === 'faulty' && each.suspect !== 'page');
  const modules = faulty.filter((each) => each.suspect === 'DIMM').map((each) => `${each.name} `);
  // A rank goes with its module: who replaces that has nothing else to do.
  const faults = faulty.filter((each) => !modules.some((name) => each.name.startsWith(name)));
  const runs = new Set(store.domains.filter((each) => each.state === 'running').map((each) => each.name));
  // What a domain came out of by itself, or by somebody's hand, asks for nothing more.
  const stuck = recent().filter(
    ({ part: one }) =>
      one.state === 'not_halted' ||
      (['stuck', 'unknown'].includes(one.state) &&
        store.domains.some((each) => each.name === one.whom) &&
        !runs.has(one.whom)),
  );
  return { faults, stuck };
}

function judge(status, waits, open) {
  const wrong = status.problems.length;
  const tone = status.halted || wrong ? 'bad' : waits ? 'warn' : open ? 'work' : 'good';
  if (status.halted) return [tone, 'The host has halted'];
  const parts = [
    wrong ? plural(wrong, 'thing is wrong', 'things are wrong') : '',
    waits ? plural(waits, 'thing waits for you', 'things wait for you') : '',
  ];
  return [
    tone,
    parts.filter(Boolean).join(', ') ||
      (open ? `Ringfence is at work on ${plural(open, 'case')}` : 'Nothing is wrong, and nothing waits for you'),
  ];
}

/** The state of the host in one sentence. */
export function sentence() {
  const { faults, stuck } = forPersons();
  return judge(
    store.status,
    store.approvals.length + faults.length + stuck.length,
    store.cases.filter((each) => each.open).length,
  )[1];
}

function verdict(status, { faults, stuck }) {
  const open = store.cases.filter((each) => each.open);
  const [tone, say] = judge(status, store.approvals.length + faults.length + stuck.length, open.length);
  const sign = { bad: '■', warn: '▲', work: '◔', good: '✓' }[tone];
  const newest = store.events.find((event) => event.kind === 'Received');
  return h(
    `section.verdict.${tone}`,
    { 'aria-label': 'The state of the host' },
    h('span.sign', { 'aria-hidden': 'true' }, sign),
    h(
      'div',
      h('h1', `${say}.`),
      h(
        'p',
        plural(status.domains, 'domain'),
        ' on ',
        status.hypervisor,
        '; ',
        open.length ? `${plural(open.length, 'case')} open; ` : 'no case open; ',
        newest ? ['newest evidence ', ago(newest.wall_ms)] : 'no evidence yet',
        '; watching for ',
        h('span', { title: 'How long this life of the service lasts so far' }, length(now() - status.started_wall_ms)),
        '.',
      ),
    ),
  );
}

function problems(status) {
  if (!status.problems.length) return h('p.empty', 'Nothing.');
  return h(
    'ul.items',
    status.problems.map((sentence) =>
      h('li.problem', h('span.mark', { 'aria-hidden': 'true' }, '■'), h('span', sentence)),
    ),
  );
}

function waiting({ faults, stuck }) {
  if (!store.approvals.length && !faults.length && !stuck.length) return h('p.empty', 'Nothing.');
  return h(
    'ul.items',
    store.approvals.map(approval),
    faults
      .slice(0, FAULTS_SHOWN)
      .map((each) =>
        h(
          'li',
          { 'data-key': `part ${each.part}`, 'data-item': true, tabindex: '0' },
          h('div.line', h('b', each.part), tag({ ...partStateOf(each.state), label: 'replace it' })),
          may('administer')
            ? h(
                'button.chip',
                { type: 'button', 'data-do': 'do-part', 'data-arg': `replaced ${each.part}` },
                'It was replaced …',
              )
            : h('div.small.muted', 'Then say so: ', h('code', `ringfence repaired '${each.part}' --replaced`)),
        ),
      ),
    faults.length > FAULTS_SHOWN
      ? h('li', h('a', { href: '#/host' }, `and ${faults.length - FAULTS_SHOWN} more parts`))
      : null,
    stuck
      .slice(0, HIT_SHOWN)
      .map(({ part: one, line }) =>
        h(
          'li',
          { 'data-key': `stuck ${line.case} ${one.whom}` },
          h('div.line', h('b', one.whom), tag(stateOf(one.state)), caseLink(line.case)),
          h('div.small.muted', one.because),
        ),
      ),
  );
}

/** Parts of cases of the last day, the newest first, each with its case. A superseded part is told by the other case. */
function recent() {
  const limit = now() - RECENT_MS;
  return store.cases
    .filter((line) => line.open || (whenOf(line) ?? 0) >= limit)
    .flatMap((line) => line.parts.map((one) => ({ part: one, line })))
    .reverse();
}

/** Whether this part of a case waits for a person's word. */
const waits = (one, line) => store.approvals.some((each) => each.case === line.case && each.name === one.whom);

const WEIGHT = { bad: 0, warn: 1, work: 2, good: 3, calm: 4 };

/** Each who was hit once, with the worst that became of them, and how often. */
function hit() {
  const whom = new Map();
  for (const each of recent()) {
    if (each.part.state === 'superseded' || each.part.state === 'counted') continue;
    const known = whom.get(each.part.whom) ?? [];
    whom.set(each.part.whom, [...known, each]);
  }
  if (!whom.size) return h('p.empty', 'Nobody.');
  const worse = (a, b) =>
    Number(b.line.open) - Number(a.line.open) ||
    WEIGHT[stateOf(a.part.state).tone] - WEIGHT[stateOf(b.part.state).tone];
  const sorted = [...whom.values()].map((each) => each.sort(worse)).sort((a, b) => worse(a[0], b[0]));
  const more = sorted.length - HIT_SHOWN;
  return [
    h(
      'ul.items.tight',
      sorted
        .slice(0, HIT_SHOWN)
        .map(([{ part: one, line }, ...others]) =>
          h(
            'li',
            { 'data-key': one.whom, 'data-item': true, tabindex: '0' },
            h(
              'div.line',
              h('b', one.whom),
              tag(waits(one, line) ? stateOf('approving') : stateOf(one.state)),
              h('span.small.muted.why', { title: one.because }, one.because),
              others.length
                ? h(
                    'span.small.muted',
                    { title: `In ${plural(others.length + 1, 'case')} of the last 24 hours; the worst is shown` },
                    `1 of ${others.length + 1}`,
                  )
                : null,
              caseLink(line.case, 'why'),
              h('span.small', ago(whenOf(line))),
            ),
          ),
        ),
    ),
    more > 0 ? h('p.small', h('a', { href: '#/cases' }, `and ${more.toLocaleString('en')} more`)) : null,
  ];
}

export const actions = { dimm: (name) => hostActions.dimm(name) };
