// The cases: open ones first, then the newest of the closed ones.

import { h } from '../dom.js';
import { head, part, severity, tag } from '../pieces.js';
import { store } from '../store.js';
import { ago } from '../time.js';
import { operationOf, plural, stateOf } from '../words.js';

export const title = () => 'Cases';

const SHOWN = 200;
const view = { search: '', which: 'all' };

const WHICH = [
  ['all', 'All', 'Open and closed'],
  ['open', 'Open', 'Not ended yet'],
  ['hurt', 'Hurt', 'Somebody was killed, the host halted, or nobody knows'],
];

const isHurt = (line) => line.parts.some((each) => stateOf(each.state).tone === 'bad' || each.state === 'unknown');

function filtered() {
  const wanted = view.search.toLowerCase();
  return [...store.cases].reverse().sort((a, b) => Number(b.open) - Number(a.open)).filter((line) =>
    (view.which === 'all' || (view.which === 'open' ? line.open : isHurt(line)))
    && (!wanted || `${line.case} ${line.title ?? ''} ${line.severity} ${line.parts.map((each) => `${each.whom} ${each.row} ${stateOf(each.state).label}`).join(' ')}`.toLowerCase().includes(wanted)));
}

export function render() {
  const found = filtered();
  const open = store.cases.filter((line) => line.open).length;
  return [
    head('Cases', `${open ? `${open} open` : 'none open'}, ${store.cases.length - open} closed`),
    h('div.tools',
      h('input.field', { type: 'search', 'data-search': true, 'data-input': 'search-cases', placeholder: 'Search: a domain, a row, a class  ( / )', 'aria-label': 'Search the cases' }),
      h('div.chips', { role: 'group', 'aria-label': 'Which cases' }, WHICH.map(([name, label, means]) =>
        h('button.chip', { type: 'button', 'data-do': 'which', 'data-arg': name, 'aria-pressed': String(view.which === name), title: means }, label)))),
    found.length ? h('div.card.plain', found.slice(0, SHOWN).map(row)) : h('p.empty', store.cases.length ? 'Nothing fits.' : 'No case yet: no error has asked for a decision.'),
    found.length > SHOWN ? h('p.muted.small', `${plural(found.length - SHOWN, 'older one')} not shown; search, or: ringfence cases --all`) : null,
  ];
}

function row(line) {
  return h('a.case', { href: `#/case/${line.case}`, 'data-item': true, 'data-key': line.case },
    h('span.mono', { title: 'The number of the case, as ringfence explain takes it' }, String(line.case)),
    h('span.title', line.title || (line.instructed ? `a person instructed: ${operationOf(line.instructed).verb}` : line.pages ? plural(line.pages, 'page') : 'case')),
    h('span.line', severity(line.severity), tag(line.open ? { tone: 'work', label: 'open', meaning: 'It has no outcome yet' } : { tone: 'calm', label: 'closed', meaning: 'It has its outcome' }),
      line.closed_wall_ms ?? line.opened_wall_ms ? ago(line.closed_wall_ms ?? line.opened_wall_ms) : null),
    h('span.parts', line.parts.map(part)));
}

export const actions = { which: (name) => { view.which = name; } };
export const inputs = { 'search-cases': (value) => { view.search = value; } };
export function mounted(root) {
  const field = root.querySelector('[data-search]');
  if (field && document.activeElement !== field && field.value !== view.search) field.value = view.search;
}
