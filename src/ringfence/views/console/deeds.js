// What a person instructs (II.2, II.3), says of a part, or has the service do: each in two steps, the first of which says
// what it means. The service checks it (II.4) and journals who did it; nothing here decides what may be done.

import { api } from './api.js';
import { open, say } from './dialogs.js';
import { h, show } from './dom.js';
import { domainTag } from './pieces.js';
import { refresh, store } from './store.js';
import { DEEDS, operationOf, plural } from './words.js';

const PAGE_BITS = 12n; // of x86: a frame has 4 KiB

export const hex = (number) => `0x${BigInt(number).toString(16)}`;

/** The addresses of a frame: "0x12000 to 0x12fff". */
export const addresses = (frame) => {
  const first = BigInt(frame) << PAGE_BITS;
  return `${hex(first)} to ${hex(first + (1n << PAGE_BITS) - 1n)}`;
};

/**
 * Ask once more, with what it means; then do it, and say what became of it. `fields` are [name, label, required];
 * `act(values)` gives the service's answer, `told(answer)` makes [whether it went well, sentence] of it, and `then` is
 * called when there is an answer. What is not `journaled` changes nothing on the host.
 */
function deed({ heading, facts, means, grave = false, yes, fields = [], act, told = became, then, journaled = true }) {
  const wrong = h('p.wrong', { role: 'alert' });
  const result = h('p', { role: 'status', 'data-result': true });
  const inputs = fields.map(([name, label, required]) => ({
    name,
    required,
    label,
    node: h('input.field', { type: 'text', name, 'aria-label': label, maxlength: 256, autocomplete: 'off' }),
  }));
  const go = h('button.button', { type: 'button', 'data-yes': true, class: grave ? 'grave' : 'main' }, yes);
  for (const { node } of inputs) node.addEventListener('input', () => show(wrong));
  const close = h('button.button', { type: 'button', 'data-do': 'close', autofocus: true }, 'Cancel');
  const asked = h(
    'div',
    inputs.map(({ label, required, node }) =>
      h('label.asked', h('span.small.muted', required ? label : `${label} (if you like)`), node),
    ),
  );
  open(
    h(
      'dialog',
      { 'aria-labelledby': 'deed-name' },
      h('h1', { id: 'deed-name' }, heading),
      h(
        'dl.facts',
        facts.filter(([, what]) => what).map(([name, what]) => [h('dt', name), h('dd', what)]),
      ),
      h('p.consequence', { 'data-consequence': true, class: grave ? 'grave' : '' }, means),
      asked,
      journaled ? h('p.small.muted', `The journal will say that ${store.session?.who ?? 'you'} did it.`) : null,
      wrong,
      result,
      h('div.buttons', close, go),
    ),
  );
  const ended = (good, sentence) => {
    show(good ? result : wrong, sentence);
    say(sentence);
    go.remove();
    asked.remove();
    show(close, 'Close');
    close.focus();
  };
  go.addEventListener('click', async () => {
    const missing = inputs.find(({ required, node }) => required && !node.value.trim());
    if (missing) {
      show(wrong, `${missing.label}: say it, the journal keeps it.`);
      missing.node.focus();
      return;
    }
    go.disabled = true;
    show(wrong);
    try {
      ended(...told(await act(Object.fromEntries(inputs.map(({ name, node }) => [name, node.value.trim()])))));
    } catch (error) {
      const unknown = error.status === 0 ? 'Whether it was done is not known here: the events say.' : '';
      show(wrong, `${error.detail ?? error.message} ${error.advice ?? ''} ${unknown}`.trim());
      go.disabled = false;
      go.focus();
    }
    refresh('status', 'domains', 'cases', 'host', 'approvals');
    then?.();
  });
}

/** What became of an instruction, in words: [whether it went well, the sentence]. */
function became({ status, case: number, because }) {
  const of = number == null ? '' : `case ${number}: `;
  return [!['failed', 'unknown'].includes(status), `${of}${status}${because ? `: ${because}` : ''}`];
}

const capital = (words) => `${words[0].toUpperCase()}${words.slice(1)}`;

// --- domains ----------------------------------------------------------------------------------------------------------

function onDomain(key) {
  const [operation, number] = key.split(' ');
  const line = store.domains.find((each) => String(each.domain) === number);
  if (!line) return;
  const { verb, means, grave } = operation === 'unpause' ? DEEDS.unpause : operationOf(operation);
  deed({
    heading: `${capital(verb)} ${line.name}?`,
    facts: [
      ['domain', [h('b', line.name), ` (number ${line.domain}, ${line.kind})`]],
      ['operation', h('b', verb)],
      ['now', domainTag(line.state)],
      ['open about it', line.cases.length ? `${line.cases.map((each) => `case ${each}`).join(', ')}` : ''],
    ],
    means,
    grave,
    yes: `Yes, ${verb} ${line.name}`,
    act: () =>
      operation === 'unpause' ? api.unpause({ domain: line.domain }) : api.instruct({ operation, domain: line.domain }),
  });
}

// --- pages and CPUs of the host ---------------------------------------------------------------------------------------

function onPage(key, _, then) {
  const [to, number] = key.split(' ');
  const frame = Number(number);
  const { verb, means, grave } = DEEDS[`page ${to}`];
  deed({
    heading: `${capital(verb)}: page ${hex(frame)}?`,
    facts: [
      ['page', h('code', hex(frame))],
      ['addresses', h('code', addresses(frame))],
    ],
    means,
    grave,
    yes: `Yes, ${verb}`,
    act: () => api.page({ to, frame }),
    then,
  });
}

function onCpu(key) {
  const [to, number] = key.split(' ');
  const { verb, means, grave } = DEEDS[`cpu ${to}`];
  deed({
    heading: `${capital(verb)}: CPU ${number}?`,
    facts: [['CPU', h('b', number)]],
    means,
    grave,
    yes: `Yes, ${verb}`,
    act: () => api.cpu({ to, cpu: Number(number) }),
  });
}

// --- parts ------------------------------------------------------------------------------------------------------------

const BECAUSE = {
  acquitted: [['because', 'Why it was not at fault', true]],
  repaired: [['because', 'What was done', false]],
  replaced: [
    ['serial', 'Serial number of what is in its place', false],
    ['because', 'Why', false],
  ],
};

function onPart(key) {
  const [how, ...rest] = key.split(' ');
  const part = rest.join(' ');
  const known = store.parts.find((each) => each.part === part);
  const { verb, means } = DEEDS[how];
  deed({
    heading: `${capital(part)} ${verb}?`,
    facts: [
      ['part', h('b', part)],
      ['counted', known ? `${plural(known.errors, 'error')}, ${plural(known.distinct, 'syndrome')}` : ''],
      ['serial number', known?.serial],
    ],
    means,
    fields: BECAUSE[how],
    yes: `Yes, it ${verb}`,
    act: (values) => api.clear({ part, how, ...values }),
    told: ({ because }) => [true, because],
  });
}

// --- the service itself -----------------------------------------------------------------------------------------------

function reload() {
  const { status } = store;
  deed({
    heading: 'Load the configuration again?',
    facts: [
      ['configuration', h('code', status.configuration)],
      ['policy', h('code', status.policy)],
    ],
    means: DEEDS.reload.means,
    yes: `Yes, ${DEEDS.reload.verb}`,
    act: () => api.reload(),
    told: (found) => [
      true,
      [
        `The configuration ${found.configuration} (${found.configuration_digest}) is in force.`,
        found.at_once.length ? `Changed now: ${found.at_once.join(', ')}.` : '',
        found.at_restart.length ? `Changed, and in force at the next start only: ${found.at_restart.join(', ')}.` : '',
        `The policy ${found.policy_changed ? 'is another one' : 'is as before'} (${found.policy_digest}).`,
        found.unknown.length ? `Not known on this machine: ${found.unknown.join(', ')}.` : '',
      ]
        .filter(Boolean)
        .join(' '),
    ],
  });
}

function testWebhook(name) {
  deed({
    heading: `Send a test to ${name}?`,
    facts: [['receiver', h('b', name)]],
    means: DEEDS.webhook.means,
    yes: `Yes, ${DEEDS.webhook.verb}`,
    act: () => api.testWebhook({ name }),
    journaled: false,
    told: (found) => [
      found.taken,
      `${found.taken ? 'Taken' : 'NOT taken'} after ${found.took_ms} ms, ${found.signed ? 'signed' : 'not signed'}: ${found.message} (${found.url})`,
    ],
  });
}

export const actions = {
  'do-domain': onDomain,
  'do-page': onPage,
  'do-cpu': onCpu,
  'do-part': onPart,
  'do-reload': reload,
  'do-webhook': testWebhook,
};
