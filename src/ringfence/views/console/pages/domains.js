// The domains, a thousand of them if need be: state, what each can be told, and what is open about it.

import { h } from '../dom.js';
import { LongList } from '../list.js';
import { caseLink, domainTag, head, mebibytes } from '../pieces.js';
import { store } from '../store.js';
import { plural } from '../words.js';

export const title = () => 'Domains';

const view = { search: '', which: 'all' };
let long = null;

export const list = () => long;

const WHICH = [
  ['all', 'All', 'Every domain that is known', () => true],
  ['hit', 'With cases', 'An open case is about it', (line) => line.cases.length > 0],
  ['off', 'Not running', 'Paused, saved, or ended', (line) => line.state !== 'running'],
];

function filtered() {
  const wanted = view.search.toLowerCase();
  const [, , , fits] = WHICH.find(([name]) => name === view.which);
  return store.domains.filter(
    (line) =>
      fits(line) &&
      (!wanted || `${line.domain} ${line.name} ${line.kind} ${line.state} ${line.uuid}`.toLowerCase().includes(wanted)),
  );
}

export function render() {
  const running = store.domains.filter((line) => line.state === 'running').length;
  return [
    head('Domains', `${running} of ${store.domains.length} run`),
    h(
      'div.tools',
      h('input.field', {
        type: 'search',
        'data-search': true,
        'data-input': 'search-domains',
        placeholder: 'Search: a name, a kind, a state  ( / )',
        'aria-label': 'Search the domains',
      }),
      h(
        'div.chips',
        { role: 'group', 'aria-label': 'Which domains' },
        WHICH.map(([name, label, means]) =>
          h(
            'button.chip',
            {
              type: 'button',
              'data-do': 'which',
              'data-arg': name,
              'aria-pressed': String(view.which === name),
              title: means,
            },
            label,
          ),
        ),
      ),
      h('span.muted.small', plural(filtered().length, 'domain')),
    ),
    h(
      'div.lhead.dom',
      { 'aria-hidden': 'true' },
      ['no.', 'name', 'kind', 'state', 'can be told by', 'memory', 'open cases'].map((name) => h('span', name)),
    ),
    h('div', { 'data-key': 'list', 'data-slot': 'domains', 'data-own': true }),
  ];
}

const TOLD = {
  trap: ['its #MC handler', 'It registered a synchronous machine-check handler: it serves consumed errors, too'],
  agent: ['its agent', 'An agent in the guest serves every error but a consumed one'],
};

function row(line) {
  const [told, means] =
    TOLD[line.handler] ??
    (line.mca_enabled
      ? ['vMCE', 'The guest enabled MCA: a virtual machine check can be injected']
      : line.kind === 'Dom0'
        ? ['—', 'The control domain']
        : ['nothing', 'It has no handler and did not enable MCA: Dom0 operates on it, or it is killed']);
  return h(
    'div.dom',
    h('span.num.opt.muted', { title: 'Its number at the hypervisor' }, String(line.domain)),
    h('span.name', { title: line.uuid ? `${line.name}, ${line.uuid}` : line.name }, line.name),
    h('span.opt', line.kind),
    h('span', domainTag(line.state)),
    h('span.told', { title: means }, told),
    h('span.num.opt.muted', { title: `${plural(line.vcpus, 'vCPU')}` }, mebibytes(line.memory_mib)),
    h(
      'span',
      line.cases.length
        ? [
            caseLink(line.cases[0]),
            line.cases.length > 1 ? h('span.muted', ` and ${line.cases.length - 1} more`) : null,
          ]
        : h('span.muted.opt', '—'),
    ),
  );
}

export function mounted(root) {
  const slot = root.querySelector('[data-slot="domains"]');
  long ??= new LongList({
    label: 'Domains',
    row,
    key: (line) => line.domain,
    empty: 'Nothing fits.',
    open: (line) => {
      if (line.cases.length) location.hash = `#/case/${line.cases[0]}`;
    },
  });
  if (long.frame.parentNode !== slot) {
    slot.replaceChildren(long.frame);
    root.querySelector('[data-search]').value = view.search;
  }
  long.set(filtered());
}

export const actions = {
  which: (name) => {
    view.which = name;
  },
};
export const inputs = {
  'search-domains': (value) => {
    view.search = value;
  },
};
