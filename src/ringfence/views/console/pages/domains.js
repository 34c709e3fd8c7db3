// The domains, a thousand of them if need be: state, what each can be told, and what is open about it.

import { h } from '../dom.js';
import { LongList } from '../list.js';
import { caseLink, chips, domainTag, head, mebibytes } from '../pieces.js';
import { may, store } from '../store.js';
import { DEEDS, OFFERED, operationOf, plural } from '../words.js';

export const title = () => 'Domains';

const view = { search: '', which: 'all', chosen: null };
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
  const chosen = store.domains.find((line) => line.domain === view.chosen);
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
      chips('Which domains', WHICH, 'which', view.which),
      h('span.muted.small', plural(filtered().length, 'domain')),
    ),
    h(
      'div.split',
      { class: chosen ? 'open' : '' },
      h(
        'div',
        { 'data-key': 'list' },
        h(
          'div.lhead.dom',
          { 'aria-hidden': 'true' },
          ['no.', 'name', 'kind', 'state', 'can be told by', 'memory', 'open cases'].map((name) => h('span', name)),
        ),
        h('div', { 'data-slot': 'domains', 'data-own': true }),
      ),
      chosen ? detail(chosen) : null,
    ),
  ];
}

/** One domain, and what a person can have done to it. */
function detail(line) {
  const [told, means] = toldBy(line);
  return h(
    'aside.card',
    { 'data-key': 'detail', 'aria-label': 'The chosen domain' },
    h(
      'h2',
      'domain',
      h('button.icon', { type: 'button', 'data-do': 'unchoose', 'aria-label': 'Close', title: 'Close (Esc)' }, '✕'),
    ),
    h('h3', line.name),
    h(
      'dl.facts',
      { class: 'gap' },
      h('dt', 'number'),
      h('dd.mono', String(line.domain)),
      line.uuid ? [h('dt', 'UUID'), h('dd.mono.small', line.uuid)] : null,
      h('dt', 'kind'),
      h('dd', `${line.kind}, ${plural(line.vcpus, 'vCPU')}, ${mebibytes(line.memory_mib)}`),
      h('dt', 'state'),
      h('dd', domainTag(line.state)),
      h('dt', 'can be told by'),
      h('dd', { title: means }, told),
      h('dt', 'open cases'),
      h('dd', line.cases.length ? line.cases.map((each) => [caseLink(each), ' ']) : 'none'),
    ),
    operations(line),
  );
}

function operations(line) {
  if (line.kind === 'Dom0') return h('p.small.muted.gap', 'It is no guest: it cannot be operated on.');
  if (!may('operate')) return h('p.small.muted.gap', 'Your token may not operate on it.');
  const offered = OFFERED[line.state] ?? [];
  if (!offered.length) return h('p.small.muted.gap', 'It is not here any more.');
  return h(
    'div.chips',
    { role: 'group', 'aria-label': `Operate on ${line.name}`, class: 'gap' },
    offered.map((operation) => {
      const { verb, means } = operation === 'unpause' ? DEEDS.unpause : operationOf(operation);
      return h(
        'button.button',
        {
          type: 'button',
          'data-key': operation,
          'data-do': 'do-domain',
          'data-arg': `${operation} ${line.domain}`,
          title: means,
        },
        `${verb[0].toUpperCase()}${verb.slice(1)} …`,
      );
    }),
  );
}

const TOLD = {
  trap: ['its #MC handler', 'It registered a synchronous machine-check handler: it serves consumed errors, too'],
  agent: ['its agent', 'An agent in the guest serves every error but a consumed one'],
};

const toldBy = (line) =>
  TOLD[line.handler] ??
  (line.mca_enabled
    ? ['vMCE', 'The guest enabled MCA: a virtual machine check can be injected']
    : line.kind === 'Dom0'
      ? ['—', 'The control domain']
      : ['nothing', 'It has no handler and did not enable MCA: Dom0 operates on it, or it is killed']);

function row(line) {
  const [told, means] = toldBy(line);
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

export function mounted(root, redraw) {
  const slot = root.querySelector('[data-slot="domains"]');
  if (!long) {
    long = new LongList({
      label: 'Domains',
      row,
      key: (line) => line.domain,
      empty: 'Nothing fits.',
      open: (line) => {
        if (line.cases.length) location.hash = `#/case/${line.cases[0]}`;
      },
    });
    long.onchoose = (line) => {
      view.chosen = line.domain;
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
  which: (name) => {
    view.which = name;
  },
  unchoose: () => {
    view.chosen = null;
    if (long) long.chosen = null;
  },
};

export function back() {
  if (view.chosen === null) return false;
  actions.unchoose();
  return true;
}

export const inputs = {
  'search-domains': (value) => {
    view.search = value;
  },
};
