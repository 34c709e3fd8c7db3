// The cases: open ones first, then the newest of the closed ones.

import { h } from '../dom.js';
import { chips, head, part, severity, tag, titleOf, whenOf } from '../pieces.js';
import { store } from '../store.js';
import { ago } from '../time.js';
import { plural, stateOf } from '../words.js';

export const title = () => 'Cases';

const SHOWN = 200;
const PARTS_SHOWN = 12;
const view = { search: '', which: 'all' };

const WHICH = [
  ['all', 'All', 'Open and closed'],
  ['open', 'Open', 'Not ended yet'],
  ['hurt', 'Hurt', 'Somebody was killed, the host halted, or nobody knows'],
];

const isHurt = (line) => line.parts.some((each) => stateOf(each.state).tone === 'bad' || each.state === 'unknown');

function filtered() {
  const wanted = view.search.toLowerCase();
  return [...store.cases]
    .reverse()
    .sort((a, b) => Number(b.open) - Number(a.open))
    .filter(
      (line) =>
        (view.which === 'all' || (view.which === 'open' ? line.open : isHurt(line))) &&
        (!wanted ||
          `${line.case} ${titleOf(line)} ${line.severity} ${line.parts.map((each) => `${each.whom} ${each.row} ${stateOf(each.state).label}`).join(' ')}`
            .toLowerCase()
            .includes(wanted)),
    );
}

export function render() {
  const found = filtered();
  const open = store.cases.filter((line) => line.open).length;
  return [
    head('Cases', `${open ? `${open} open` : 'none open'}, ${store.cases.length - open} closed`),
    h(
      'div.tools',
      h('input.field', {
        type: 'search',
        'data-search': true,
        'data-input': 'search-cases',
        placeholder: 'Search: a domain, a row, a class  ( / )',
        'aria-label': 'Search the cases',
      }),
      chips('Which cases', WHICH, 'which', view.which),
    ),
    found.length
      ? h('div.card.plain', found.slice(0, SHOWN).map(row))
      : h('p.empty', store.cases.length ? 'Nothing fits.' : 'No case yet: no error has asked for a decision.'),
    found.length > SHOWN
      ? h('p.muted.small', `${plural(found.length - SHOWN, 'older one')} not shown; search, or: ringfence cases --all`)
      : null,
  ];
}

function row(line) {
  const when = whenOf(line);
  return h(
    'div.case',
    { 'data-key': line.case },
    h('span.mono.muted', { title: 'The number of the case, as ringfence explain takes it' }, String(line.case)),
    h('a.title', { href: `#/case/${line.case}`, 'data-item': true }, titleOf(line)),
    h(
      'span.line',
      severity(line.severity),
      line.open ? tag({ tone: 'work', label: 'open', meaning: 'It has no outcome yet' }) : null,
      when !== null ? ago(when) : null,
    ),
    h(
      'span.parts',
      line.parts.slice(0, PARTS_SHOWN).map(part),
      line.parts.length > PARTS_SHOWN ? h('span.muted', `and ${line.parts.length - PARTS_SHOWN} more`) : null,
    ),
  );
}

export const actions = {
  which: (name) => {
    view.which = name;
  },
};
export const inputs = {
  'search-cases': (value) => {
    view.search = value;
  },
};
export function mounted(root) {
  const field = root.querySelector('[data-search]');
  if (field && document.activeElement !== field && field.value !== view.search) field.value = view.search;
}
