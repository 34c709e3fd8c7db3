// The service itself: what it hears, whom it tells, what it goes by, and who you are to it.

import { h } from '../dom.js';
import { head } from '../pieces.js';
import { may, store } from '../store.js';
import { moment } from '../time.js';
import { plural } from '../words.js';

export const title = () => 'Service';

export function render() {
  const { status } = store;
  return [
    head('Service', `Ringfence ${status.service_version}, life ${status.life}`),
    h(
      'div.grid.two',
      h(
        'section.card',
        { 'aria-labelledby': 'goes-by' },
        h('h2', { id: 'goes-by' }, 'What it goes by'),
        h(
          'dl.facts',
          fact('configuration', h('code', status.configuration), ' ', digest(status.configuration_digest)),
          fact('policy', h('a', { href: '#/policy' }, h('code', status.policy)), ' ', digest(status.policy_digest)),
          status.at_restart.length ? fact('at the next start', status.at_restart.join(', ')) : null,
        ),
        status.policy_problem ? h('p.wrong', `Not in force: ${status.policy_problem}`) : null,
        may('administer')
          ? h(
              'p',
              { class: 'gap' },
              h('button.button', { type: 'button', 'data-do': 'do-reload' }, 'Load both again …'),
            )
          : null,
      ),
      h(
        'section.card',
        { 'aria-labelledby': 'is' },
        h('h2', { id: 'is' }, 'What it is'),
        h(
          'dl.facts',
          fact('since', moment(status.started_wall_ms)),
          fact('process', String(status.pid)),
          fact(
            'received',
            `${plural(status.received, 'record')}, ${plural(status.also_seen, 'further report')} of the same errors; ${status.unrecognised.toLocaleString('en')} not understood`,
          ),
          fact(
            'lost',
            `${status.lost_urgent.toLocaleString('en')} urgent, ${status.lost_nonurgent.toLocaleString('en')} nonurgent`,
          ),
          fact('journal', `${plural(status.journal_events, 'event')} in `, h('code', status.state_dir)),
          fact('you', store.session?.who ?? status.you),
          fact('you may', (store.session?.scopes ?? status.you_may).join(', ')),
        ),
      ),
      h(
        'section.card',
        { 'aria-labelledby': 'hears' },
        h('h2', { id: 'hears' }, 'What it hears, and whom it tells'),
        status.notes.length
          ? h('ul.items', status.notes.map(note))
          : h('p.empty', 'No source of evidence is followed.'),
      ),
      h(
        'section.card',
        { 'aria-labelledby': 'receivers' },
        h('h2', { id: 'receivers' }, 'Receivers of events'),
        status.webhooks.length
          ? h('ul.items', status.webhooks.map(receiver))
          : h('p.empty', 'The configuration names none: ', h('code', '[[webhook]]'), '.'),
      ),
    ),
  ];
}

const fact = (name, ...what) => [h('dt', name), h('dd', what)];
const digest = (text) => (text ? h('span.mono.muted', { title: 'Tells one content from another' }, text) : null);

function note(line) {
  const at = line.indexOf(': ');
  return h('li', { 'data-key': line.slice(0, at) }, h('b', line.slice(0, at)), h('div.small', line.slice(at + 2)));
}

const receiver = (name) =>
  h(
    'li',
    { 'data-key': name, 'data-item': true, tabindex: '0' },
    h(
      'div.line',
      h('b', name),
      h('span.grow'),
      may('administer')
        ? h(
            'button.button',
            { type: 'button', 'data-do': 'do-webhook', 'data-arg': name, 'aria-label': `Send a test to ${name} …` },
            'Send a test …',
          )
        : null,
    ),
  );
