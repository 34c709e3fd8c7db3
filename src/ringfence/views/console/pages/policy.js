// The policy in words, where each value comes from, and a dry run: another text is tried, and nothing is changed.

import { api } from '../api.js';
import { h } from '../dom.js';
import { head, rowName, severity } from '../pieces.js';
import { changed, store } from '../store.js';
import { plural } from '../words.js';

export const title = () => 'Policy';

const EVENTS_SHOWN = 20;
const STAND_INS = [
  ['hvm', 'an HVM guest that enabled MCA'],
  ['hvm-plain', 'an HVM guest that did not'],
  ['pv', 'a PV guest with a handler'],
  ['pv-plain', 'a PV guest without one'],
];

const view = { trying: false, text: null, tried: null, triedText: '', refused: '', busy: false, standIn: 'hvm' };

async function load() {
  if (store.policy) return;
  store.policy = { asking: true };
  try {
    store.policy = await api.policy();
  } catch (error) {
    store.policy = { refused: `${error.detail} ${error.advice}` };
  }
  changed();
}

export function render() {
  load();
  const { policy } = store;
  if (policy?.refused) return [head('Policy'), h('p.wrong', policy.refused)];
  if (!policy || policy.asking) return [head('Policy'), h('p.muted', 'Asking the service …')];
  return [
    head(
      'Policy',
      [
        policy.path ? h('code', policy.path) : 'the default: there is no file',
        ', ',
        h('code', { title: 'Tells policies apart; the journal names it' }, policy.digest),
      ],
      h(
        'button.button',
        { type: 'button', 'data-do': 'trying', 'aria-expanded': String(view.trying) },
        view.trying ? 'Put the dry run away' : 'Try another …',
      ),
    ),
    store.status.policy_problem
      ? h('p.wrong', `The file is not in force, the policy before it is: ${store.status.policy_problem}`)
      : null,
    view.trying ? trial() : null,
    h('section.card', { 'aria-label': 'What holds' }, h('h2', 'What holds'), explained(policy.explained)),
    h('details.card', { 'data-key': 'text' }, h('summary', 'The text'), h('pre', policy.text)),
  ];
}

// --- the dry run ------------------------------------------------------------------------------------------------------

function trial() {
  return h(
    'section.card',
    { 'data-key': 'trial', 'aria-label': 'Dry run' },
    h('h2', 'Dry run: nothing is changed'),
    h(
      'div.grid.two',
      h(
        'div',
        h('label.small.muted', { for: 'policy-text' }, 'A policy, as its file has it'),
        h('textarea.field', {
          id: 'policy-text',
          'data-own': true,
          spellcheck: 'false',
          'data-input': 'policy-text',
          wrap: 'off',
        }),
        h(
          'label.line.small',
          { class: 'gap' },
          'Tried on the last records, as if every page had been of ',
          h(
            'select.field.inline',
            { 'data-input': 'stand-in', 'aria-label': 'Whose page it was' },
            STAND_INS.map(([name, words]) => h('option', { value: name, selected: name === view.standIn }, words)),
          ),
        ),
        h(
          'div.line',
          { class: 'gap' },
          h(
            'button.button.main',
            { type: 'button', 'data-do': 'try', disabled: view.busy },
            view.busy ? 'Trying …' : 'Try it',
          ),
          h(
            'span.small.muted',
            'To put it in force: write the file on the host, then ',
            h('code', 'systemctl reload ringfence'),
          ),
        ),
      ),
      h('div', { 'aria-live': 'polite' }, result()),
    ),
  );
}

function result() {
  if (view.refused) return h('p.wrong', view.refused);
  const { tried } = view;
  if (!tried) return h('p.empty', 'What it would do is said here, with what differs from what holds.');
  const stale = view.text !== view.triedText ? h('p.small.muted', 'The text has changed since it was tried.') : null;
  if (!tried.good) {
    return [
      stale,
      h('p.wrong', `It is no policy: ${plural(tried.problems.length, 'problem')}.`),
      h(
        'ul.items',
        tried.problems.map((each) =>
          h(
            'li',
            h(
              'div.line',
              each.line != null
                ? h('button.chip', { type: 'button', 'data-do': 'line', 'data-arg': each.line }, `line ${each.line}`)
                : null,
              each.key ? h('code', each.key) : null,
            ),
            h('div', each.problem),
            each.allowed ? h('div.small.muted', `Allowed: ${each.allowed}`) : null,
          ),
        ),
      ),
    ];
  }
  const differ = differences(store.policy.explained, tried.explained);
  return [
    stale,
    h(
      'p',
      h('b', 'It is a good policy. '),
      differ
        ? `${plural(differ, 'sentence')} would differ from what holds; they are marked.`
        : 'It does just what holds now.',
    ),
    compared(tried),
    h('h2.gap', 'In words'),
    explained(tried.explained, store.policy.explained),
  ];
}

/** What it was tried on, the events first that would end otherwise. */
function compared(tried) {
  if (!tried.events.length) return h('p.muted', 'The journal has no record to try it on.');
  const sorted = [...tried.events].sort((a, b) => Number(b.differs) - Number(a.differs) || b.number - a.number);
  return [
    h(
      'p',
      { class: 'gap' },
      h(
        'b',
        tried.differing
          ? `${tried.differing} of the last ${plural(tried.events.length, 'record')} would end otherwise.`
          : `Tried on the last ${plural(tried.events.length, 'record')}: none would end otherwise.`,
      ),
    ),
    h('p.small.muted', tried.assumed),
    h(
      'ul.items.small',
      sorted.slice(0, EVENTS_SHOWN).map((each) =>
        h(
          'li',
          { 'data-key': each.number, class: each.differs ? 'changed' : '' },
          h('div.line', severity(each.severity), h('span', each.summary)),
          each.differs
            ? h(
                'dl.facts',
                h('dt', 'now'),
                h(
                  'dd',
                  each.in_force.map((one) => h('div', one)),
                ),
                h('dt', 'then'),
                h(
                  'dd',
                  each.proposed.map((one) => h('div', one)),
                ),
              )
            : h(
                'div.muted',
                each.in_force.map((one) => h('div', one)),
              ),
        ),
      ),
    ),
    sorted.length > EVENTS_SHOWN ? h('p.small.muted', `and ${sorted.length - EVENTS_SHOWN} more`) : null,
  ];
}

// --- the policy in words ----------------------------------------------------------------------------------------------

const sentences = (shown) =>
  new Set([
    ...shown.host.map((row) => `host ${key(row)}`),
    ...shown.rules.flatMap((rule) => rule.rows.map((row) => `${rule.about} ${key(row)}`)),
  ]);
const key = (row) => `${row.rows.join()} ${row.when} ${row.then}`;
const differences = (holds, tried) => [...sentences(tried)].filter((each) => !sentences(holds).has(each)).length;

function explained(shown, before = null) {
  const known = before ? sentences(before) : null;
  const said = (where) => (row) =>
    h(
      'div.said',
      { class: known && !known.has(`${where} ${key(row)}`) ? 'changed' : '' },
      h('div.line', row.rows.map(rowName), h('span', row.when)),
      h('div', `${row.then}.`),
      row.values.length
        ? h(
            'div.keys',
            row.values.map((each) =>
              h(
                'span',
                { title: each.origin === 'default' ? 'The default: no file says otherwise' : `From ${each.origin}` },
                `${each.key} = ${each.value}`,
                each.origin === 'default' ? null : h('b', ` ${each.origin}`),
              ),
            ),
          )
        : null,
    );
  return h(
    'dl.rules',
    h('dt', 'The host'),
    h('dd', shown.host.map(said('host'))),
    shown.rules.map((rule) => [
      h(
        'dt',
        `${rule.about[0].toUpperCase()}${rule.about.slice(1)}`,
        rule.line != null ? h('span.muted.small', ` (line ${rule.line})`) : null,
      ),
      h('dd', rule.rows.map(said(rule.about))),
    ]),
  );
}

export function mounted(root) {
  const field = root.querySelector('#policy-text');
  if (!field) return;
  if (view.text === null) view.text = store.policy.text;
  if (!field.value && view.text && document.activeElement !== field) field.value = view.text;
}

export const actions = {
  trying: () => {
    view.trying = !view.trying;
  },
  try: async () => {
    view.busy = true;
    const text = view.text ?? '';
    try {
      Object.assign(view, { tried: await api.dryRun(text, view.standIn), triedText: text, refused: '' });
    } catch (error) {
      Object.assign(view, { tried: null, refused: `${error.detail} ${error.advice}` });
    }
    view.busy = false;
    changed();
  },
  line: (number) => {
    const field = document.getElementById('policy-text');
    const lines = field.value.split('\n');
    const from = lines.slice(0, number - 1).join('\n').length + (number > 1 ? 1 : 0);
    field.focus();
    field.setSelectionRange(from, from + (lines[number - 1]?.length ?? 0));
  },
};

export const inputs = {
  'policy-text': (text) => {
    view.text = text;
  },
  'stand-in': (name) => {
    view.standIn = name;
  },
};
