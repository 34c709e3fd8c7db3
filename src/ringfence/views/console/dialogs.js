// Dialogs: what a row of the concept says, the keys, a person's word in two steps, signing in.

import { api } from './api.js';
import { h, show } from './dom.js';
import { KEYS } from './keys.js';
import { refresh, signIn, store } from './store.js';
import { countdown } from './time.js';
import { operationOf } from './words.js';

const overlays = () => document.getElementById('overlays');

/** Show a dialog; what had the focus has it again when it closes. */
export function open(node, { modal = true } = {}) {
  const before = document.activeElement;
  overlays().append(node);
  node.addEventListener('close', () => {
    node.remove();
    if (before?.isConnected) before.focus();
  });
  if (modal) node.showModal();
  else node.show();
  return node;
}

const closer = (label = 'Close') => h('button.button', { type: 'button', 'data-do': 'close', autofocus: true }, label);

/** What a row of the concept says. */
export function row(name) {
  const known = store.rows.get(name);
  open(
    h(
      'dialog',
      { 'aria-labelledby': 'row-name' },
      h('h1', { id: 'row-name' }, `Row ${name}`),
      known
        ? h('dl.facts', h('dt', 'When'), h('dd', known.condition), h('dt', 'Then'), h('dd', known.happens))
        : h('p', 'This console does not know it.'),
      h(
        'p.small.muted',
        { class: 'gap' },
        'Rows I are what happens at a machine check, rows II what Dom0 instructs, rows B what the answer to the concept asked for (docs/reference/concept.md).',
      ),
      h('div.buttons', closer()),
    ),
  );
}

export function help() {
  open(
    h(
      'dialog',
      { 'aria-labelledby': 'help-name' },
      h('h1', { id: 'help-name' }, 'Keys'),
      h(
        'table',
        h(
          'tbody',
          KEYS.map(([keys, does]) =>
            h(
              'tr',
              h(
                'td',
                keys.split(' ').map((key) => [h('kbd', key), ' ']),
              ),
              h('td', does),
            ),
          ),
        ),
      ),
      h('div.buttons', closer()),
    ),
  );
}

// --- a person's word --------------------------------------------------------------------------------------------------

/** Ask once more, with what it means, before a word is given. `key` is "case domain operation". */
export function ask(key, word) {
  const wanted = store.approvals.find((each) => `${each.case} ${each.domain} ${each.operation}` === key);
  if (!wanted) return;
  const { verb, means } = operationOf(wanted.operation);
  const grants = word === 'grant';
  const name = wanted.name;
  const said = h('p.wrong', { role: 'alert' });
  const yes = h(
    'button.button',
    { type: 'button', 'data-yes': true, class: grants ? 'grave' : 'main' },
    grants ? `Yes, ${verb} ${name}` : `Deny: do not ${verb} ${name}`,
  );
  const node = open(
    h(
      'dialog',
      { 'aria-labelledby': 'ask-name', 'data-ask': key },
      h(
        'h1',
        { id: 'ask-name' },
        grants ? `${verb[0].toUpperCase()}${verb.slice(1)} ${name}?` : `Do not ${verb} ${name}?`,
      ),
      h(
        'dl.facts',
        h('dt', 'domain'),
        h('dd', h('b', name), ` (number ${wanted.domain})`),
        h('dt', 'operation'),
        h('dd', h('b', verb)),
        h('dt', 'why'),
        h('dd', store.titles.get(wanted.case) ?? '', h('div.small.muted', `case ${wanted.case}`)),
        h('dt', 'left'),
        h('dd', countdown(wanted.until)),
      ),
      grants
        ? h('p.consequence.grave', { 'data-consequence': true }, means)
        : h(
            'p.consequence',
            { 'data-consequence': true },
            'It is not done. The next operation of the domain’s policy that needs no approval is done instead, or none: then what the error did to the domain stays as it is.',
          ),
      h(
        'p.small.muted',
        `The journal will say that ${store.session?.who ?? 'you'} ${grants ? 'granted' : 'denied'} it.`,
      ),
      said,
      h('div.buttons', h('button.button', { type: 'button', 'data-do': 'close', autofocus: true }, 'Cancel'), yes),
    ),
  );
  yes.addEventListener('click', async () => {
    yes.disabled = true;
    try {
      await (grants ? api.approve : api.reject)({
        case: wanted.case,
        domain: wanted.domain,
        operation: wanted.operation,
      });
      node.close();
      say(grants ? `Granted: ${verb} ${name}.` : `Denied: ${verb} ${name}.`);
    } catch (error) {
      show(said, `${error.detail ?? error.message} ${error.advice ?? ''}`);
    }
    refresh('approvals', 'cases', 'domains', 'status');
  });
}

/** Whoever asks is still there, or the time is over: said in the dialog, and nothing more can be granted. */
export function stillWaiting() {
  for (const node of document.querySelectorAll('dialog[data-ask]')) {
    const found = store.approvals.some(
      (each) => `${each.case} ${each.domain} ${each.operation}` === node.dataset.ask && each.until > performance.now(),
    );
    const yes = node.querySelector('[data-yes]');
    if (!found && yes && !yes.disabled) {
      yes.disabled = true;
      show(node.querySelector('.wrong'), 'It does not wait any more: its time is over, or somebody else gave a word.');
    }
  }
}

// --- signing in -------------------------------------------------------------------------------------------------------

/** Ask for a token; over what is shown, which stays readable and is said to be old. */
export function login(because) {
  if (document.getElementById('login')) return;
  const said = h('p.wrong', { role: 'alert' });
  const field = h('input.field', {
    type: 'password',
    name: 'token',
    autocomplete: 'current-password',
    required: true,
    autofocus: true,
    'aria-label': 'Token',
    spellcheck: 'false',
  });
  const button = h('button.button.main', { type: 'submit' }, 'Sign in');
  const user = h('input', { type: 'text', name: 'user', autocomplete: 'username', value: 'ringfence', hidden: true });
  const form = h('form', user, field, said, h('div.buttons', button));
  const node = h(
    'dialog',
    { id: 'login', 'aria-labelledby': 'login-name' },
    h('h1', { id: 'login-name' }, 'Ringfence'),
    h('p', because),
    h(
      'p.small.muted',
      'A token is made on the host: ',
      h('code', 'ringfence token create'),
      '. It is exchanged for a session here, and kept nowhere.',
    ),
    form,
  );
  node.addEventListener('cancel', (event) => event.preventDefault());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    show(said);
    try {
      await signIn(field.value.trim());
      node.close();
    } catch (error) {
      show(said, `${error.detail ?? error.message} ${error.advice ?? ''}`);
      field.select();
    }
    button.disabled = false;
  });
  open(node);
}

/** Say something to who listens rather than looks, and in the corner of who looks. */
export function say(sentence) {
  const place = document.getElementById('said');
  show(place, h('p', sentence));
}
