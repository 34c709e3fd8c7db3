// The live stream: what happens, in words, the newest first. Ten thousand rows, of which those in sight are drawn.

import { h } from '../dom.js';
import { LongList } from '../list.js';
import { caseLink, chips, eventRow, head, rowName } from '../pieces.js';
import { MOST_EVENTS, store } from '../store.js';
import { moment } from '../time.js';
import { plural } from '../words.js';

export const title = () => 'Events';

const GROUPS = [
  ['all', 'All', 'Everything that the journal says in words', () => true],
  [
    'evidence',
    'Evidence',
    'Records that arrived, what was lost, what cannot be read',
    (event) => ['finding', 'evidence', 'also seen', 'lost', 'unread'].includes(event.what),
  ],
  [
    'decisions',
    'Decisions',
    'What was decided, asked and answered',
    (event) =>
      ['impact', 'decision', 'question', 'answer', 'approval', 'instruction', 'deadline', 'plug-in'].includes(
        event.what,
      ),
  ],
  ['deeds', 'Deeds', 'Steps, orders and their results', (event) => ['step', 'order', 'result'].includes(event.what)],
  ['outcomes', 'Outcomes', 'How cases ended', (event) => ['outcome', 'superseded'].includes(event.what)],
  [
    'trends',
    'Trends',
    'Parts that are about to fail',
    (event) => ['trend', 'cleared', 'known bad'].includes(event.what),
  ],
  [
    'host',
    'Host',
    'Domains, Dom0, modules, starts, policies, the journal',
    (event) => ['domain', 'Dom0', 'start', 'stop', 'policy', 'config', 'modules', 'journal'].includes(event.what),
  ],
];

const view = { group: 'all', search: '', held: null, chosen: null };

let long = null;

export const list = () => long;

function filtered() {
  const [, , , fits] = GROUPS.find(([name]) => name === view.group);
  const wanted = view.search.toLowerCase();
  const among = view.held ?? store.events;
  if (view.group === 'all' && !wanted) return among;
  return among.filter(
    (event) =>
      fits(event) &&
      (!wanted ||
        `${event.number} ${event.what} ${event.row} ${event.text} case ${event.case ?? ''}`
          .toLowerCase()
          .includes(wanted)),
  );
}

export function render() {
  const shown = filtered();
  return [
    head(
      'Events',
      view.held
        ? `held; ${plural(store.events.length - view.held.length, 'event')} came since`
        : 'live, the newest first',
      h(
        'button.chip',
        {
          type: 'button',
          'data-do': 'hold',
          'aria-pressed': String(view.held !== null),
          title: 'Hold the list still; what comes is kept and counted',
        },
        view.held ? 'Go on' : 'Hold',
      ),
    ),
    h(
      'div.tools',
      h('input.field', {
        type: 'search',
        'data-search': true,
        'data-input': 'search-events',
        placeholder: 'Search: a domain, a row, a word  ( / )',
        'aria-label': 'Search the events',
      }),
      chips('Which events', GROUPS, 'group', view.group),
      h(
        'span.muted.small',
        { title: `The newest ${MOST_EVENTS.toLocaleString('en')} are kept here; older ones: ringfence events --last` },
        plural(shown.length, 'event'),
      ),
    ),
    h(
      'div.split',
      { class: view.chosen ? 'open' : '' },
      h('div', { 'data-key': 'list', 'data-slot': 'events', 'data-own': true }),
      view.chosen ? detail(view.chosen) : null,
    ),
  ];
}

function detail(event) {
  return h(
    'aside.card',
    { 'data-key': 'detail', 'aria-label': 'The chosen event' },
    h(
      'h2',
      event.what,
      h('button.icon', { type: 'button', 'data-do': 'unchoose', 'aria-label': 'Close', title: 'Close (Esc)' }, '✕'),
    ),
    h('p', event.text),
    event.details.length
      ? h(
          'ul.small',
          { class: 'reasons' },
          event.details.map((each) => h('li', each)),
        )
      : null,
    h(
      'dl.facts.small',
      h('dt', 'when'),
      h('dd', moment(event.wall_ms, { milli: true })),
      event.row ? [h('dt', 'row'), h('dd', rowName(event.row), ' ', store.rows.get(event.row)?.happens ?? '')] : null,
      h('dt', 'journal'),
      h('dd', `number ${event.number}, ${event.kind}`),
      event.case != null
        ? [h('dt', 'case'), h('dd', caseLink(event.case))]
        : event.kind === 'Received'
          ? [h('dt', 'record'), h('dd', h('a', { href: `#/event/${event.number}` }, 'explain it'))]
          : null,
    ),
  );
}

export function mounted(root, redraw) {
  const slot = root.querySelector('[data-slot="events"]');
  if (!long) {
    long = new LongList({
      label: 'Events, the newest first',
      row: eventRow,
      key: (event) => event.number,
      open: (event) => {
        location.hash = event.case == null ? `#/event/${event.number}` : `#/case/${event.case}`;
      },
      empty: 'Nothing fits.',
    });
    long.onchoose = (event) => {
      view.chosen = event;
      redraw();
    };
  }
  if (long.frame.parentNode !== slot) {
    slot.replaceChildren(long.frame);
    root.querySelector('[data-search]').value = view.search;
  }
  long.set(filtered());
}

export const actions = {
  hold: () => {
    view.held = view.held ? null : store.events;
  },
  group: (name) => {
    view.group = name;
  },
  unchoose: () => {
    view.chosen = null;
    if (long) {
      long.chosen = null;
    }
  },
};

export const inputs = {
  'search-events': (value) => {
    view.search = value;
  },
};

export function back() {
  if (!view.chosen) return false;
  actions.unchoose();
  return true;
}
