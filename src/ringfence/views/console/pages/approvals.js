// What waits for a person's word.

import { h } from '../dom.js';
import { approval, eventRow, head } from '../pieces.js';
import { store } from '../store.js';
import { plural } from '../words.js';

export const title = () => 'Approvals';

const WORDS_SHOWN = 20;

export function render() {
  const said = store.events
    .filter((event) => event.what === 'approval' || (event.what === 'deadline' && event.kind === 'DeadlinePassed'))
    .slice(0, WORDS_SHOWN);
  return [
    head(
      'Approvals',
      store.approvals.length
        ? `${plural(store.approvals.length, 'operation')} ${store.approvals.length === 1 ? 'waits' : 'wait'} for a word`
        : null,
    ),
    h(
      'section.card',
      { 'aria-label': 'What waits' },
      store.approvals.length
        ? h('ul.items', store.approvals.map(approval))
        : h(
            'p.empty',
            'Nothing waits for you. Which operations ask first is said by the policy: ',
            h('code', 'approve = ["destroy"]'),
            '.',
          ),
    ),
    said.length
      ? h(
          'section.card',
          h('h2', 'Asked and answered lately'),
          h(
            'ol.feed',
            said.map((event) => h('li', { 'data-key': event.number }, eventRow(event, { short: true }))),
          ),
        )
      : null,
  ];
}
