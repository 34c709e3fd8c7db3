// Small renderings that several pages share.

import { h } from './dom.js';
import { may, store } from './store.js';
import { ago, clock, countdown, day, now } from './time.js';
import { GRADES, TONES, domainStateOf, markOf, operationOf, severityOf, stateOf } from './words.js';

/** A word with its tone; the mark says the same as the colour. */
export const tag = ({ tone, label, meaning }) =>
  h(`span.tag.${tone}`, { title: meaning }, h('span.mark', { 'aria-hidden': 'true' }, markOf(tone)), label);

/** How well a suspect accounts for what was seen, in the service's words. */
export const grade = (name) =>
  tag({
    tone: GRADES[name] ?? 'calm',
    label: `${name} suspect`,
    meaning: store.words?.grades.find((each) => each.grade === name)?.means ?? '',
  });

/** A row of the concept by its name; what it says is in the title, and in a dialog on click. */
export function rowName(row) {
  if (!row) return null;
  const known = store.rows.get(row);
  return h(
    'button.row-name',
    {
      type: 'button',
      'data-do': 'row',
      'data-arg': row,
      'aria-label': `Row ${row} of the concept`,
      title: known ? `${row}: when ${known.condition}, then ${known.happens}` : `Row ${row} of the concept`,
    },
    row,
  );
}

export const caseLink = (number, text = `case ${number}`) =>
  h('a', { href: `#/case/${number}`, title: `Explain case ${number}, step by step` }, text);

/** When a case ended, or when it was opened; null if neither is known. */
export const whenOf = (line) => store.ends.get(line.case) ?? line.opened_wall_ms ?? null;

/** What a case is about. */
export const titleOf = (line) =>
  store.titles.get(line.case) ??
  (line.instructed ? `a person instructed: ${operationOf(line.instructed).verb}` : `case ${line.case}`);

export const severity = (name) => (name ? tag(severityOf(name)) : null);

/** One part of a case: who, how far, by which row. */
export const part = (each) =>
  h('span.line', { 'data-key': each.whom }, h('b', each.whom), tag(stateOf(each.state)), rowName(each.row));

/** Tones of an event: what was killed, halted or lost weighs more than its kind says. */
function toneOf(event) {
  if (event.kind === 'Closed' && /\b(killed|halted|stuck|not halted|unknown) by\b/.test(event.text)) return 'bad';
  if (event.kind === 'Received' && event.row === 'I.2a') return 'calm';
  return TONES[event.what] ?? 'calm';
}

/** An event as one row: time, sort, row, text, case. `short` leaves out row and case. */
export function eventRow(event, { short = false } = {}) {
  const tone = toneOf(event);
  const at = event.wall_ms ?? null;
  const today = at !== null && day(at) === day(now());
  return h(
    `div.ev.${tone}`,
    { class: event.fresh ? 'new' : '' },
    h(
      'time.at',
      at === null
        ? { title: 'The wall clock was not known then' }
        : { datetime: new Date(at).toISOString(), title: `${new Date(at).toISOString()} (UTC)` },
      at === null ? '—' : today ? clock(at, { milli: !short }) : `${day(at).slice(5)} ${clock(at).slice(0, 5)}`,
    ),
    short ? null : h('span.sort', { title: `number ${event.number} of the journal: ${event.kind}` }, event.what),
    short ? null : h('span', rowName(event.row)),
    h(
      'span.text',
      { title: `${event.what}: ${event.text}` },
      short && event.case != null ? h('a', { href: `#/case/${event.case}` }, event.text) : event.text,
    ),
    short
      ? null
      : h(
          'span.of',
          event.case != null
            ? caseLink(event.case, ['case', h('span.opt', ` ${event.case}`)])
            : event.kind === 'Received'
              ? h('a', { href: `#/event/${event.number}`, title: 'Explain this record' }, 'explain')
              : '',
        ),
  );
}

/** What waits for a person: what, for whom, how long, and the two words. */
export function approval(each) {
  const { verb } = operationOf(each.operation);
  const key = `${each.case} ${each.domain} ${each.operation}`;
  return h(
    'li',
    { 'data-key': key, 'data-item': true, tabindex: '0' },
    h(
      'div.asks',
      h(
        'div.what',
        h('b', `${verb[0].toUpperCase()}${verb.slice(1)} ${each.name}?`),
        h('div.small.muted', `domain ${each.domain}, `, caseLink(each.case)),
      ),
      h(
        'span',
        {
          title:
            'What is left to decide. Then nobody has approved: the next operation that needs no approval is done, or none.',
        },
        countdown(each.until),
      ),
      may('approve')
        ? h(
            'span.line',
            h('button.button', { type: 'button', 'data-do': 'ask', 'data-arg': key, 'data-word': 'deny' }, 'Deny …'),
            h(
              'button.button.main',
              { type: 'button', 'data-do': 'ask', 'data-arg': key, 'data-word': 'grant' },
              'Grant …',
            ),
          )
        : h('span.small.muted', 'Your token may look only.'),
    ),
  );
}

export const domainTag = (name) => tag(domainStateOf(name));

/** A heading of a page with what stands beside it. */
export const head = (title, sub, ...more) =>
  h('div.head', h('h1', title), sub ? h('span.sub', sub) : null, h('span.grow'), more);

/** One of several is chosen: `choices` are [name, label, what it means]; a click does `does` with the name. */
export const chips = (label, choices, does, chosen) =>
  h(
    'div.chips',
    { role: 'group', 'aria-label': label },
    choices.map(([name, word, means]) =>
      h(
        'button.chip',
        { type: 'button', 'data-do': does, 'data-arg': name, 'aria-pressed': String(chosen === name), title: means },
        word,
      ),
    ),
  );

/** Bytes, binary, short. */
export function mebibytes(mib) {
  if (mib >= 1 << 20) return `${(mib / (1 << 20)).toFixed(1)} TiB`;
  if (mib >= 1 << 10) return `${(mib / (1 << 10)).toFixed(mib % (1 << 10) ? 1 : 0)} GiB`;
  return `${mib} MiB`;
}
